package ruleset

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Save prints the rules as iptables-save does, without counters. Reading the
// text and printing it again gives the same text.
func (f *File) Save(w io.Writer) error {
	_, err := w.Write(f.save(func(int, int) (uint64, uint64) { return 0, 0 }, false))
	return err
}

// save prints all: do_output of iptables-save.c. count returns the counters of
// a chain's rule. The rule after the last one is the chain's policy.
func (f *File) save(count func(chain, rule int) (packets, bytes uint64), withRules bool) []byte {
	b := []byte("*" + tableName + "\n")
	for i := range f.chains {
		c := &f.chains[i]
		if !c.builtin {
			b = fmt.Appendf(b, ":%s - [0:0]\n", c.name)
			continue
		}
		packets, bytes := count(i, len(c.rules))
		b = fmt.Appendf(b, ":%s %s [%d:%d]\n", c.name, targetOf(c.policy).name, packets, bytes)
	}
	for i := range f.chains {
		for j := range f.chains[i].rules {
			if withRules {
				packets, bytes := count(i, j)
				b = fmt.Appendf(b, "[%d:%d] ", packets, bytes)
			}
			b = append(b, "-A "...)
			b = append(b, f.chains[i].name...)
			b = f.appendRule(b, &f.chains[i].rules[j])
			b = append(b, '\n')
		}
	}
	return append(b, "COMMIT\n"...)
}

// appendRule prints what follows the chain's name: print_rule4.
func (f *File) appendRule(b []byte, r *rule) []byte {
	if r.family != 0 && !r.showsFamily() {
		b = append(b, map[uint8]string{unix.NFPROTO_IPV4: " -4", unix.NFPROTO_IPV6: " -6"}[r.family]...)
	}
	b = r.head.append(b)
	for i := range r.matches {
		m := &r.matches[i] // print_match_save
		b = m.append(append(append(b, " -m "...), m.name...), r.family)
	}
	return f.appendTarget(b, &r.target)
}

// showsFamily reports whether what is printed of a rule for one family tells
// which family it is, so that -4 and -6 can be left out.
func (r *rule) showsFamily() bool {
	if r.asked&(testSource|testDest|testFragment) != 0 {
		return true
	}
	if r.inverted&testProtocol == 0 && protocolFamily(r.protocol) == r.family {
		return true
	}
	for _, m := range r.matches {
		if m.family != 0 {
			return true
		}
		if m, ok := m.matcher.(*recentMatch); ok && m.showsFamily(r.family) {
			return true
		}
	}
	return false
}

// append prints the conditions before the matches: save_rule_details.
func (h *head) append(b []byte) []byte {
	option := func(t tests, name string) bool {
		if h.asked&t == 0 {
			return false
		}
		b = appendOption(b, h.inverted&t != 0, name)
		return true
	}
	if option(testSource, "-s ") {
		b = appendNetwork(b, h.family, &h.src)
	}
	if option(testDest, "-d ") {
		b = appendNetwork(b, h.family, &h.dst)
	}
	if option(testIn, "-i ") {
		b = h.in.append(b)
	}
	if option(testOut, "-o ") {
		b = h.out.append(b)
	}
	if option(testProtocol, "-p ") {
		b = append(b, protocolName(h.protocol)...)
	}
	option(testFragment, "-f")
	return b
}

func appendOption(b []byte, inverted bool, name string) []byte {
	if inverted {
		b = append(b, " !"...)
	}
	b = append(b, ' ')
	return append(b, name...)
}

func (d *device) append(b []byte) []byte {
	b = append(b, d.name...)
	if d.prefix {
		b = append(b, '+')
	}
	return b
}

func (f *File) appendTarget(b []byte, t *target) []byte {
	switch t.kind {
	case targetNone:
		return b
	case targetJump:
		return append(append(b, " -j "...), f.chains[t.to].name...)
	case targetGoto:
		return append(append(b, " -g "...), f.chains[t.to].name...)
	}
	e := targetOf(t.kind)
	b = append(append(b, " -j "...), e.name...)
	if e.append == nil {
		return b
	}
	return e.append(b, t)
}
