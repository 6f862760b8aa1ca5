package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"recentfs/capture"
)

// markMatch is -m mark: struct xt_mark_mtinfo1.
type markMatch struct {
	mark, mask      uint32
	given, inverted bool
}

func (m *markMatch) options() []option {
	return []option{{names: []string{"mark"}, args: 1, invertible: true, read: m.readMark}}
}

func (m *markMatch) readMark(_ *line, g *given) (err error) {
	m.given, m.inverted = true, g.inverted
	m.mark, m.mask, err = parseMark(g)
	return err
}

// parseMark reads VALUE or VALUE/MASK: xtables_parse_mark_mask.
func parseMark(g *given) (mark, mask uint32, err error) {
	value, text, masked := strings.Cut(g.arg[0], "/")
	v, ok := number(value, 1<<32-1)
	m := uint64(1<<32 - 1)
	if masked && ok {
		m, ok = number(text, m)
	}
	if !ok {
		return 0, 0, fmt.Errorf("%s %q: write VALUE or VALUE/MASK, numbers from 0 to 0xffffffff", g.name, g.arg[0])
	}
	return uint32(v), uint32(m), nil
}

func (m *markMatch) check(*line) error {
	if !m.given {
		return errors.New("-m mark needs --mark VALUE or --mark VALUE/MASK")
	}
	return nil
}

// meets follows mark_mt.
func (m *markMatch) meets(p *capture.Packet, _ *hold) outcome {
	return when((p.Mark&m.mask == m.mark) != m.inverted)
}

func (m *markMatch) append(b []byte, _ uint8) []byte {
	b = fmt.Appendf(appendOption(b, m.inverted, "--mark "), "%#x", m.mark)
	if m.mask != 1<<32-1 {
		b = fmt.Appendf(b, "/%#x", m.mask)
	}
	return b
}
