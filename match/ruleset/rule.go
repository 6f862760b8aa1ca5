package ruleset

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

// device is the name of a network device, or how such names begin.
type device struct {
	name   string
	prefix bool // written as name+
}

// match is one -m of a rule.
type match struct {
	matcher
	*matchExtension
	visits int // how many visits asking it counts as: see maxVisits
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
	bypass     bool   // targetQueue: the packet goes on if nobody has bound the queue
	mark, mask uint32 // targetMark: struct xt_mark_tginfo2
	// to is, of targetJump and targetGoto, the index of the chain in a File
	// and of the chain's first rule in a Set.
	to  int
	log *logTarget // targetLog
}

// calls reports whether the target is another chain.
func (t *target) calls() bool { return t.kind == targetJump || t.kind == targetGoto }
