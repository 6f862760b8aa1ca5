package ruleset

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// A LOG rule logs logBurst packets at once and one more every half second.
// That is the kernel's own limit for what a packet can make it print
// (net_ratelimit: net.core.message_burst 10, net.core.message_cost 5 seconds),
// but for each rule by itself, so that no rule silences another.
const (
	logBurst     = 10
	logPerSecond = 2
	logBuffer    = 256 // records that wait to be logged
)

// logTarget is struct xt_log_info with the state of the limit.
type logTarget struct {
	prefix string
	level  uint8
	hz     uint32
	// full is when the bucket will be full again, in 1/logPerSecond jiffies: a
	// record may pass while it is less than a burst ahead.
	full atomic.Uint64
}

// logTarget is the rule's target while it is read.
func (l *line) logTarget() *logTarget {
	if l.rule.log == nil {
		l.rule.log = &logTarget{level: defaultLogLevel}
	}
	return l.rule.log
}

// start is a copy whose bucket is full.
func (t *logTarget) start(clock jiffies.Clock) *logTarget {
	c := &logTarget{prefix: t.prefix, level: t.level, hz: clock.HZ()}
	c.full.Store(uint64(clock.Now()) * logPerSecond)
	return c
}

// allow takes a record out of the bucket. A clock that was set back leaves a
// full one.
func (t *logTarget) allow(now jiffies.Jiffies) bool {
	cost := uint64(t.hz) // one record: 1/logPerSecond seconds
	for {
		was := t.full.Load()
		full, at := was, uint64(now)*logPerSecond
		switch ahead := int64(full - at); {
		case ahead < 0 || ahead > int64(logBurst*cost):
			full = at
		case ahead > int64((logBurst-1)*cost):
			return false
		}
		if t.full.CompareAndSwap(was, full+cost) {
			return true
		}
	}
}

// append prints the target's options: LOG_save.
func (t *logTarget) append(b []byte) []byte {
	if t.prefix != "" {
		b = quote(append(b, " --log-prefix "...), t.prefix)
	}
	if t.level != defaultLogLevel {
		b = fmt.Appendf(b, " --log-level %d", t.level)
	}
	return b
}

// Logs are the packets that met a LOG rule, for another goroutine to print. It
// is never closed, and nil where there is no such rule.
func (s *Set) Logs() <-chan LogRecord { return s.logs }

// LogsDropped is the number of packets that met a LOG rule and are not in
// Logs: the rule's limit was reached, or nobody read fast enough.
func (s *Set) LogsDropped() uint64 { return s.logsDropped.Load() }

// log makes a record without waiting for anybody.
func (q *Queue) log(t *logTarget, p *capture.Packet, now jiffies.Jiffies) {
	if t.allow(now) {
		r := LogRecord{
			Level: t.level, Prefix: t.prefix, Queue: q.number,
			Header: p.Header, Length: p.Length, Mark: p.Mark,
		}
		copy(r.in[:], p.In)
		copy(r.out[:], p.Out)
		select {
		case q.set.logs <- r:
			return
		default:
		}
	}
	q.set.logsDropped.Add(1)
}

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
