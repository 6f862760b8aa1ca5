package ruleset

import (
	"fmt"

	"recentfs/capture"
)

// udpMatch is -m udp: struct xt_udp.
type udpMatch struct{ portMatch }

func (m *udpMatch) options() []option { return m.portOptions(m.readPorts) }

// readPorts follows xtopt_parse_mport, which takes a range upside down: no port
// is in it. All ports inverted would never match, and what is printed would not
// say so.
func (m *udpMatch) readPorts(g *given) (ports, error) {
	r, err := parsePorts(g, parseUDPPort)
	if err == nil && g.inverted && r == allPorts {
		err = fmt.Errorf("! %s %s would never match: leave it out", g.name, g.arg[0])
	}
	return r, err
}

func (m *udpMatch) check(*line) error { return nil }

// meets follows udp_mt.
func (m *udpMatch) meets(p *capture.Packet, _ *hold) outcome {
	if o := hasTransport(p); o != yes {
		return o
	}
	return when(m.meetsPorts(p))
}

func (m *udpMatch) append(b []byte, _ uint8) []byte { return m.appendNarrow(b) }
