package ruleset

import (
	"recentfs/match/addr"
	"recentfs/match/recent"
)

// rule is one rule, in the form in which packets meet it: the kernel's struct
// ipt_entry with its matches and its target.
type rule struct {
	head
	matches []match
	target
	line int // in the file
}

// tests are the conditions of a head.
type tests uint8

const (
	testSource tests = 1 << iota
	testDest
	testIn
	testOut
	testProtocol
	testFragment
)

// head is what a rule asks of any packet: struct ipt_ip.
type head struct {
	asked, inverted tests
	family          uint8 // unix.NFPROTO_IPV4, unix.NFPROTO_IPV6, or 0 for both
	protocol        uint8
	src, dst        network
	in, out         device
}

// network is an address and its mask, which need not be contiguous. The
// address has no bit outside of the mask.
type network struct{ addr, mask addr.Addr }

func (n *network) contains(b *[16]byte) bool { return addr.Load(b).And(n.mask) == n.addr }

// device is the name of a network device, or how such names begin.
type device struct {
	name   string
	prefix bool // written as name+
}

// matchKind tells the matches apart.
type matchKind uint8

const (
	matchTCP matchKind = iota
	matchUDP
	matchSCTP
	matchMultiport
	matchICMP
	matchICMP6
	matchMark
	matchComment
	matchRecent
)

// conditions are what a match asks. A match with one condition has it in one.
type conditions uint8

const (
	sourcePorts conditions = 1 << iota
	destPorts
	tcpFlags

	one = sourcePorts
)

// ports is a range, both ends included.
type ports struct{ low, high uint16 }

func (r ports) contains(n uint16) bool { return r.low <= n && n <= r.high }

var allPorts = ports{0, 65535}

// match is one -m of a rule. Which fields hold depends on its kind.
type match struct {
	kind               matchKind
	asked, inverted    conditions
	flagMask, flagComp uint8 // struct xt_tcp
	icmpType           uint8 // struct ipt_icmp; of ICMP, 255 is any
	codeLow, codeHigh  uint8
	src, dst           ports
	mark, mask         uint32
	multi              *multiport
	info               *recent.Info
	recent             *recent.Rule // in a Set only
	comment            string
}

// multiport is struct xt_multiport_v1.
type multiport struct {
	of   conditions // sourcePorts, destPorts, or both for either
	list []ports
}

// targetKind tells the targets apart.
type targetKind uint8

const (
	targetNone targetKind = iota // go on with the next rule
	targetAccept
	targetDrop
	targetReturn
	targetJump
	targetGoto
	targetMark
	targetRepeat
	targetQueue
	targetLog
)

// target is what a rule does with a packet that it matches.
type target struct {
	kind       targetKind
	queue      uint16 // targetQueue
	mark, mask uint32 // targetMark: struct xt_mark_tginfo2
	// to is, of targetJump and targetGoto, the index of the chain in a File
	// and of the chain's first rule in a Set.
	to  int
	log *logTarget // targetLog
}
