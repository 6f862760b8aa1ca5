package ruleset

import (
	"errors"
	"fmt"

	"recentfs/capture"
)

// lengthMatch is -m length: struct xt_length_info.
type lengthMatch struct {
	size            ports // a range of lengths, which has the form of a range of ports
	given, inverted bool
}

func (m *lengthMatch) options() []option {
	return []option{{names: []string{"length"}, args: 1, invertible: true, read: m.readLength}}
}

// readLength follows length_parse and xtopt_parse_mint. They read an empty text as
// 0, and take a range upside down: no packet is in it.
func (m *lengthMatch) readLength(_ *line, g *given) (err error) {
	m.given, m.inverted = true, g.inverted
	m.size, err = parsePorts(g, func(text string) (uint16, error) {
		n, ok := number(text, 65535)
		if !ok && text != "" {
			return 0, fmt.Errorf("%q: write BYTES, MIN:MAX, MIN: or :MAX, numbers from 0 to 65535", g.arg[0])
		}
		return uint16(n), nil
	})
	return err
}

func (m *lengthMatch) check(*line) error {
	if !m.given {
		return errors.New("-m length needs --length BYTES or --length MIN:MAX")
	}
	return nil
}

// meets follows length_mt, which asks skb_ip_totlen, and length_mt6, which asks
// skb->len. Length is both: the kernel cuts what it receives to the total length
// (ip_rcv_core), writes the total length of what it sends (__ip_local_out), and
// skb_ip_totlen gives skb->len where a segment is too large for that field. No
// range holds such a segment. Before Linux 6.3 the kernel saw only 16 bits of its
// length here.
func (m *lengthMatch) meets(p *capture.Packet, _ *hold) outcome {
	inside := uint32(m.size.low) <= p.Length && p.Length <= uint32(m.size.high)
	return when(inside != m.inverted)
}

// append follows length_save.
func (m *lengthMatch) append(b []byte, _ uint8) []byte {
	return m.size.append(appendOption(b, m.inverted, "--length "))
}
