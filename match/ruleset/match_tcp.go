package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// tcpMatch is -m tcp: struct xt_tcp.
type tcpMatch struct {
	portMatch
	flags tcpFlags
}

// tcpFlags is --tcp-flags or --syn: of the flags in mask those in set are on.
// The zero value matches any flags.
type tcpFlags struct {
	mask, set       uint8
	given, inverted bool
}

// flagNames are the bits of a TCP header's 14th byte, from bit 0.
var flagNames = []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}

const (
	flagSYN  = 0x02
	synFlags = 0x17 // FIN, SYN, RST, ACK
	allFlags = 0x3f
)

func (m *tcpMatch) options() []option {
	return append(m.portOptions(m.readPorts),
		option{names: []string{"syn"}, invertible: true, read: m.readSYN},
		option{names: []string{"tcp-flags"}, args: 2, invertible: true, read: m.readFlags},
		option{names: []string{"tcp-option"}, args: 1, invertible: true, read: refuseKernelOnly},
	)
}

// readPorts follows parse_tcp_ports. All ports inverted would never match, and
// what is printed would not say so.
func (m *tcpMatch) readPorts(g *given) (ports, error) {
	r, err := parseOrderedPorts(g, "tcp")
	if err == nil && g.inverted && r == allPorts {
		err = fmt.Errorf("! %s %s would never match: leave it out", g.name, g.arg[0])
	}
	return r, err
}

func (m *tcpMatch) readSYN(_ *line, g *given) error {
	return m.setFlags(g, synFlags, flagSYN)
}

func (m *tcpMatch) readFlags(_ *line, g *given) error {
	if strings.HasPrefix(g.arg[1], "-") || strings.HasPrefix(g.arg[1], "!") {
		return fmt.Errorf("%s needs two lists: the flags to look at and those that are set, such as SYN,ACK SYN", g.name)
	}
	mask, err := parseFlags(g, g.arg[0])
	if err != nil {
		return err
	}
	set, err := parseFlags(g, g.arg[1])
	if err != nil {
		return err
	}
	if mask == 0 && set != 0 && !g.inverted {
		return fmt.Errorf("%s %s %s would never match: leave it out", g.name, g.arg[0], g.arg[1])
	}
	return m.setFlags(g, mask, set)
}

func (m *tcpMatch) setFlags(g *given, mask, set uint8) error {
	if m.flags.given {
		return errors.New("--syn and --tcp-flags are one condition: leave one out, or add a -m tcp for the other")
	}
	m.flags = tcpFlags{mask: mask, set: set, given: true, inverted: g.inverted}
	return nil
}

// parseFlags follows parse_tcp_flag.
func parseFlags(g *given, text string) (flags uint8, err error) {
next:
	for name := range strings.SplitSeq(text, ",") {
		for i, n := range flagNames {
			if strings.EqualFold(n, name) {
				flags |= 1 << i
				continue next
			}
		}
		switch strings.ToUpper(name) {
		case "ALL":
			flags |= allFlags
		case "NONE", "":
		default:
			return 0, fmt.Errorf("%s: there is no TCP flag %q, use %s, ALL or NONE", g.name, name, strings.Join(flagNames, ", "))
		}
	}
	return flags, nil
}

func (m *tcpMatch) check(*line) error { return nil }

// meets follows tcp_mt.
func (m *tcpMatch) meets(p *capture.Packet, _ *hold) outcome {
	if o := hasTransport(p); o != yes {
		// A fragment at 8 bytes would overwrite the flags. tcp_mt compares its
		// offset with 1, which ipv6_find_hdr, counting bytes, never gives.
		if p.FragmentOffset == 1 && p.Family == unix.NFPROTO_IPV4 {
			return hotdrop
		}
		return o
	}
	return when(m.meetsPorts(p) && (p.TCPFlags&m.flags.mask == m.flags.set) != m.flags.inverted)
}

// append follows tcp_save.
func (m *tcpMatch) append(b []byte, _ uint8) []byte {
	b = m.appendNarrow(b)
	if m.flags.mask != 0 || m.flags.inverted {
		b = appendFlags(appendOption(b, m.flags.inverted, "--tcp-flags "), m.flags.mask)
		b = appendFlags(append(b, ' '), m.flags.set)
	}
	return b
}

func appendFlags(b []byte, flags uint8) []byte {
	var names []string
	for i, n := range flagNames {
		if flags&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		names = []string{"NONE"}
	}
	return append(b, strings.Join(names, ",")...)
}
