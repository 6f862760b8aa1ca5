package ruleset

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/addr"
)

// LogRecord is a packet that met a LOG rule.
type LogRecord struct {
	Level  uint8  // of syslog: 0 is an emergency, 7 debugging
	Prefix string // the rule's --log-prefix, or empty
	Queue  uint16
	Header capture.Header
	Length uint32 // bytes, from the network header on
	Mark   uint32

	in, out [unix.IFNAMSIZ]byte // device names, up to a NUL
}

// String is the line that the kernel would log, less what is not decoded here
// (MAC, TOS, PREC, ID, TC, FLOWLBL, WINDOW, ...): nf_log_ip_packet and
// nf_log_ip6_packet of net/netfilter/nf_log_syslog.c.
func (r LogRecord) String() string {
	h := &r.Header
	b := fmt.Appendf(nil, "%sIN=%s OUT=%s ", r.Prefix, until0(r.in[:]), until0(r.out[:]))
	if h.Family == unix.NFPROTO_IPV4 {
		b = addr.AppendPI4(append(b, "SRC="...), addr.Load(&h.Src))
		b = addr.AppendPI4(append(b, " DST="...), addr.Load(&h.Dst))
		b = fmt.Appendf(b, " LEN=%d TTL=%d ", r.Length, h.TTL)
	} else {
		b = addr.AppendPI6(append(b, "SRC="...), addr.Load(&h.Src))
		b = addr.AppendPI6(append(b, " DST="...), addr.Load(&h.Dst))
		b = fmt.Appendf(b, " LEN=%d HOPLIMIT=%d ", r.Length, h.TTL)
	}
	if h.FragmentOffset != 0 {
		b = fmt.Appendf(b, "FRAG:%d ", h.FragmentOffset)
	}
	b = appendTransport(b, h)
	if r.Mark != 0 {
		b = fmt.Appendf(b, "MARK=%#x ", r.Mark)
	}
	return string(bytes.TrimRight(b, " "))
}

func until0(name []byte) []byte {
	name, _, _ = bytes.Cut(name, []byte{0})
	return name
}

// logNames are the protocols whose header is looked into, as the kernel's log
// spells them.
var logNames = map[uint8]string{
	unix.IPPROTO_TCP: "TCP", unix.IPPROTO_UDP: "UDP", unix.IPPROTO_UDPLITE: "UDPLITE",
	unix.IPPROTO_ICMP: "ICMP", unix.IPPROTO_ICMPV6: "ICMPv6",
}

// flagOrder is the order of nf_log_dump_tcp_header.
var flagOrder = []struct {
	bit  uint8
	name string
}{
	{0x80, "CWR"}, {0x40, "ECE"}, {0x20, "URG"}, {0x10, "ACK"},
	{0x08, "PSH"}, {0x04, "RST"}, {0x02, "SYN"}, {0x01, "FIN"},
}

func appendTransport(b []byte, h *capture.Header) []byte {
	name, ok := logNames[h.Protocol]
	if !ok {
		return fmt.Appendf(b, "PROTO=%d ", h.Protocol)
	}
	b = fmt.Appendf(b, "PROTO=%s ", name)
	switch {
	case h.FragmentOffset != 0:
		return b
	case !h.Transport:
		return append(b, "INCOMPLETE "...)
	case h.Protocol == unix.IPPROTO_ICMP || h.Protocol == unix.IPPROTO_ICMPV6:
		return fmt.Appendf(b, "TYPE=%d CODE=%d ", h.ICMPType, h.ICMPCode)
	}
	b = fmt.Appendf(b, "SPT=%d DPT=%d ", h.SrcPort, h.DstPort)
	if h.Protocol == unix.IPPROTO_TCP {
		for _, f := range flagOrder {
			if h.TCPFlags&f.bit != 0 {
				b = append(append(b, f.name...), ' ')
			}
		}
	}
	return b
}
