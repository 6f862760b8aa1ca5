package ruleset

import (
	"errors"
	"fmt"
)

// markOptions reads the options of -j MARK. All of them become --set-xmark: the
// mark becomes mark & ^mask ^ value (mark_tg_parse).
type markOptions struct {
	*target
	given bool
}

func (o *markOptions) options() []option {
	// value reads VALUE/MASK, bits reads a value alone.
	value := func(name string, set func(value, mask uint32) error) option {
		return option{names: []string{name}, args: 1, read: func(_ *line, g *given) error {
			value, mask, err := parseMark(g)
			if err != nil {
				return err
			}
			return set(value, mask)
		}}
	}
	bits := func(name string, set func(bits uint32) error) option {
		return option{names: []string{name}, args: 1, read: func(_ *line, g *given) error {
			n, ok := number(g.arg[0], 1<<32-1)
			if !ok {
				return fmt.Errorf("%s %q: a number from 0 to 0xffffffff is needed", g.name, g.arg[0])
			}
			return set(uint32(n))
		}}
	}
	return []option{
		value("set-xmark", o.set),
		value("set-mark", func(value, mask uint32) error { return o.set(value, value|mask) }),
		bits("and-mark", func(bits uint32) error { return o.set(0, ^bits) }),
		bits("or-mark", func(bits uint32) error { return o.set(bits, bits) }),
		bits("xor-mark", func(bits uint32) error { return o.set(bits, 0) }),
	}
}

func (o *markOptions) set(value, mask uint32) error {
	if o.given {
		return errors.New("-j MARK takes one of --set-mark, --set-xmark, --and-mark, --or-mark and --xor-mark: use several rules")
	}
	o.given, o.mark, o.mask = true, value, mask
	return nil
}

func (o *markOptions) check(*line) error {
	if !o.given {
		return errors.New("-j MARK needs --set-mark, --set-xmark, --and-mark, --or-mark or --xor-mark")
	}
	return nil
}

func appendMark(b []byte, t *target) []byte {
	return fmt.Appendf(b, " --set-xmark %#x/%#x", t.mark, t.mask)
}
