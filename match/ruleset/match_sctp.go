package ruleset

import "recentfs/capture"

// sctpMatch is -m sctp: struct xt_sctp_info, less its chunks.
type sctpMatch struct{ portMatch }

func (m *sctpMatch) options() []option {
	return append(m.portOptions(m.readPorts),
		option{names: []string{"chunk-types"}, args: 2, invertible: true, read: refuseKernelOnly})
}

// readPorts follows parse_sctp_ports.
func (m *sctpMatch) readPorts(g *given) (ports, error) { return parseOrderedPorts(g, "sctp") }

func (m *sctpMatch) check(*line) error { return nil }

// meets follows sctp_mt.
func (m *sctpMatch) meets(p *capture.Packet, _ *hold) outcome {
	if o := hasTransport(p); o != yes {
		return o
	}
	return when(m.meetsPorts(p))
}

// append follows sctp_save, which prints all ports too.
func (m *sctpMatch) append(b []byte, _ uint8) []byte {
	if m.src.given {
		b = m.src.append(b, "--sport ")
	}
	if m.dst.given {
		b = m.dst.append(b, "--dport ")
	}
	return b
}
