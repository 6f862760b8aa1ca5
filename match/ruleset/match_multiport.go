package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

const maxMultiPorts = 15 // XT_MULTI_PORTS; a range counts as two

// multiportMatch is -m multiport: struct xt_multiport_v1. With both src and
// dst, one of a packet's ports has to be in the list.
type multiportMatch struct {
	src, dst bool
	inverted bool
	list     []ports
}

func (m *multiportMatch) options() []option {
	of := func(src, dst bool, names ...string) option {
		return option{names: names, args: 1, invertible: true, read: func(l *line, g *given) error {
			return m.readList(l, g, src, dst)
		}}
	}
	return []option{
		of(true, false, "source-ports", "sports"),
		of(false, true, "destination-ports", "dports"),
		of(true, true, "ports"),
	}
}

// readList follows parse_multi_ports_v1.
func (m *multiportMatch) readList(l *line, g *given, src, dst bool) error {
	if m.list != nil {
		return fmt.Errorf("%s: -m multiport takes one of --sports, --dports and --ports, add a -m multiport for the other", g.name)
	}
	if !l.hasPorts() {
		return fmt.Errorf("%s needs -p tcp, udp, udplite, sctp or dccp before it", g.name)
	}
	protocol := protocolName(l.rule.protocol)
	count := 0
	for text := range strings.SplitSeq(g.arg[0], ",") {
		low, high, isRange := strings.Cut(text, ":")
		count++
		if !isRange {
			high = low
		} else {
			count++
		}
		if count > maxMultiPorts {
			return fmt.Errorf("%s lists more than %d ports, a range counting as two: use several rules", g.name, maxMultiPorts)
		}
		first, err := parsePort(low, protocol)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		last, err := parsePort(high, protocol)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		if isRange && first >= last {
			return fmt.Errorf("%s: the second port of the range %s must be the larger one", g.name, text)
		}
		m.list = append(m.list, ports{first, last})
	}
	m.src, m.dst, m.inverted = src, dst, g.inverted
	return nil
}

// hasPorts reports whether the rule is for one protocol with ports:
// check_proto.
func (l *line) hasPorts() bool {
	if l.rule.inverted&testProtocol != 0 {
		return false
	}
	switch l.rule.protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		return true
	}
	return false
}

func (m *multiportMatch) check(*line) error {
	if m.list == nil {
		return errors.New("-m multiport needs --sports, --dports or --ports")
	}
	return nil
}

// meets follows multiport_mt, which reads the ports alone, and so takes a
// transport header that is cut after them.
func (m *multiportMatch) meets(p *capture.Packet, _ *hold) outcome {
	if p.FragmentOffset != 0 {
		return no
	}
	if !p.Ports {
		return hotdrop
	}
	return when(m.contains(p) != m.inverted)
}

// contains follows ports_match_v1.
func (m *multiportMatch) contains(p *capture.Packet) bool {
	for _, r := range m.list {
		if m.src && r.contains(p.SrcPort) || m.dst && r.contains(p.DstPort) {
			return true
		}
	}
	return false
}

// append follows multiport_save_v1.
func (m *multiportMatch) append(b []byte, _ uint8) []byte {
	name := "--ports "
	switch {
	case !m.dst:
		name = "--sports "
	case !m.src:
		name = "--dports "
	}
	b = appendOption(b, m.inverted, name)
	for i, r := range m.list {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.append(b)
	}
	return b
}
