package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const maxMultiPorts = 15 // XT_MULTI_PORTS; a range counts as two

func readMultiSource(l *line, g *given) error { return l.readMultiPorts(g, sourcePorts) }
func readMultiDest(l *line, g *given) error   { return l.readMultiPorts(g, destPorts) }
func readMultiEither(l *line, g *given) error { return l.readMultiPorts(g, sourcePorts|destPorts) }

// readMultiPorts follows parse_multi_ports_v1.
func (l *line) readMultiPorts(g *given, of conditions) error {
	if g.match.multi != nil {
		return fmt.Errorf("%s: -m multiport takes one of --sports, --dports and --ports, add a -m multiport for the other", g.as)
	}
	if !l.hasPorts() {
		return fmt.Errorf("%s needs -p tcp, udp, udplite, sctp or dccp before it", g.as)
	}
	protocol := protocolName(l.rule.protocol)
	m := &multiport{of: of}
	n := 0
	for text := range strings.SplitSeq(g.arg[0], ",") {
		low, high, isRange := strings.Cut(text, ":")
		n++
		if !isRange {
			high = low
		} else {
			n++
		}
		if n > maxMultiPorts {
			return fmt.Errorf("%s lists more than %d ports, a range counting as two: use several rules", g.as, maxMultiPorts)
		}
		first, err := parsePort(low, protocol)
		if err != nil {
			return fmt.Errorf("%s: %w", g.as, err)
		}
		last, err := parsePort(high, protocol)
		if err != nil {
			return fmt.Errorf("%s: %w", g.as, err)
		}
		if isRange && first >= last {
			return fmt.Errorf("%s: in the range %s the second port is to be the larger one", g.as, text)
		}
		m.list = append(m.list, ports{first, last})
	}
	g.match.multi = m
	g.match.ask(g, one)
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

func checkMultiport(l *line, m *match) error {
	if m.multi == nil {
		return errors.New("-m multiport needs --sports, --dports or --ports")
	}
	return nil
}
