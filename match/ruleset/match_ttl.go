package ruleset

import (
	"errors"
	"fmt"
	"strconv"

	"recentfs/capture"
)

// ttlMatch is -m ttl: struct ipt_ttl_info.
type ttlMatch struct {
	mode ttlMode
	ttl  uint8
}

// ttlMode is how a packet's TTL is compared: IPT_TTL_EQ and the others.
type ttlMode uint8

const (
	ttlUnset ttlMode = iota // no option was given yet
	ttlEqual
	ttlNotEqual // the only one that a ! makes
	ttlLess
	ttlGreater
)

func (m *ttlMatch) options() []option {
	read := func(mode ttlMode) func(*line, *given) error {
		return func(_ *line, g *given) error { return m.read(g, mode) }
	}
	return []option{
		{names: []string{"ttl-lt"}, args: 1, read: read(ttlLess)},
		{names: []string{"ttl-gt"}, args: 1, read: read(ttlGreater)},
		{names: []string{"ttl-eq", "ttl"}, args: 1, invertible: true, read: read(ttlEqual)},
	}
}

// read follows ttl_parse. The options exclude each other (F_ANY).
func (m *ttlMatch) read(g *given, mode ttlMode) error {
	if m.mode != ttlUnset {
		return fmt.Errorf("%s: -m ttl takes one of --ttl-eq, --ttl-lt and --ttl-gt, add a -m ttl for the other", g.name)
	}
	n, ok := number(g.arg[0], 255)
	if !ok {
		return fmt.Errorf("%s %q: a number from 0 to 255 is needed", g.name, g.arg[0])
	}
	if g.inverted {
		mode = ttlNotEqual
	}
	m.mode, m.ttl = mode, uint8(n)
	return nil
}

func (m *ttlMatch) check(*line) error {
	if m.mode == ttlUnset {
		return errors.New("-m ttl needs --ttl-eq, --ttl-lt or --ttl-gt")
	}
	return nil
}

// meets follows ttl_mt. It sees the TTL as it stands in the header: recent_mt
// alone counts what forwarding took away.
func (m *ttlMatch) meets(p *capture.Packet, _ *hold) outcome {
	switch m.mode {
	case ttlEqual:
		return when(p.TTL == m.ttl)
	case ttlNotEqual:
		return when(p.TTL != m.ttl)
	case ttlLess:
		return when(p.TTL < m.ttl)
	}
	return when(p.TTL > m.ttl)
}

// append follows ttl_save.
func (m *ttlMatch) append(b []byte, _ uint8) []byte {
	name := "--ttl-eq "
	switch m.mode {
	case ttlLess:
		name = "--ttl-lt "
	case ttlGreater:
		name = "--ttl-gt "
	}
	return strconv.AppendUint(appendOption(b, m.mode == ttlNotEqual, name), uint64(m.ttl), 10)
}
