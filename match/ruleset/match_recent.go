package ruleset

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/addr"
	"recentfs/match/recent"
)

// recentMatch is -m recent: struct xt_recent_mtinfo_v1 and, in a Set, what
// recent_mt_check made of it.
type recentMatch struct {
	rule *recent.Rule // in a Set only
	info recent.Info
}

// newRecentMatch follows recent_init.
func newRecentMatch() *recentMatch {
	return &recentMatch{info: recent.Info{Name: "DEFAULT", Mask: recent.AllOnes}}
}

// options are those of libxt_recent.c.
func (m *recentMatch) options() []option {
	flag := func(name string, f recent.Flags) option {
		return option{names: []string{name}, read: func(*line, *given) error {
			m.info.CheckSet |= f
			return nil
		}}
	}
	action := func(name string, f recent.Flags) option {
		return option{names: []string{name}, invertible: true, read: func(_ *line, g *given) error {
			m.info.CheckSet |= f
			m.info.Invert = m.info.Invert || g.inverted
			return nil
		}}
	}
	side := func(name string, s recent.Side) option {
		return option{names: []string{name}, read: func(*line, *given) error {
			m.info.Side = s
			return nil
		}}
	}
	return []option{
		action("set", recent.Set),
		action("rcheck", recent.Check),
		action("update", recent.Update),
		action("remove", recent.Remove),
		{names: []string{"seconds"}, args: 1, read: m.readSeconds},
		flag("reap", recent.Reap),
		{names: []string{"hitcount"}, args: 1, read: m.readHitCount},
		flag("rttl", recent.TTL),
		{names: []string{"name"}, args: 1, read: m.readName},
		side("rsource", recent.Source),
		side("rdest", recent.Dest),
		{names: []string{"mask"}, args: 1, read: m.readMask},
	}
}

func (m *recentMatch) readSeconds(_ *line, g *given) error {
	n, ok := number(g.arg[0], 1<<32-1)
	if !ok || n == 0 {
		return fmt.Errorf("%s %q: a number from 1 to 4294967295 is needed", g.name, g.arg[0])
	}
	m.info.Seconds = uint32(n)
	return nil
}

func (m *recentMatch) readHitCount(_ *line, g *given) error {
	n, ok := number(g.arg[0], 1<<32-1)
	if !ok {
		return fmt.Errorf("%s %q: a number is needed", g.name, g.arg[0])
	}
	m.info.HitCount = uint32(n)
	return nil
}

func (m *recentMatch) readName(_ *line, g *given) error {
	m.info.Name = g.arg[0]
	return nil
}

// readMask reads a mask, which makes the rule one for the mask's family: an
// IPv4 mask keeps only the first four bytes of an IPv6 address, and an IPv6
// mask means nothing to IPv4. The exception is 255.255.255.255, which
// iptables-save prints where there is no mask. It changes no address here.
func (m *recentMatch) readMask(l *line, g *given) error {
	text := g.arg[0]
	parse, family := addr.Aton, uint8(unix.NFPROTO_IPV4)
	if strings.Contains(text, ":") {
		parse, family = addr.Pton6, unix.NFPROTO_IPV6
	}
	mask, ok := parse(text)
	if !ok {
		return fmt.Errorf("%s %q: write the mask as an address such as ffff:ffff:: or 255.255.255.0", g.name, text)
	}
	if family == unix.NFPROTO_IPV4 && mask == addr.Prefix(32) {
		mask = addr.Prefix(128)
	} else if err := l.only(family, g.name+" "+text); err != nil {
		return err
	}
	m.info.Mask = mask.Bytes()
	return nil
}

func (m *recentMatch) check(l *line) error {
	if err := l.params.CheckRule(&m.info); err != nil {
		return fmt.Errorf("-m recent: %w", err)
	}
	return nil
}

// stampsPerVisit is how many stamps take as long as a visit.
const stampsPerVisit = 64

// visits is how many visits the match counts as, in a table with room for ring
// stamps an address. With --seconds it may look at all of them.
func (m *recentMatch) visits(ring uint32) int {
	if m.info.Seconds == 0 {
		return 1
	}
	return 1 + int(ring/stampsPerVisit)
}

// meets follows recent_mt.
func (m *recentMatch) meets(p *capture.Packet, h *hold) outcome {
	return when(m.rule.Match(&h.Batch, h.now, p.Family, &p.Src, &p.Dst, p.TTL, p.Leaving()))
}

// append follows recent_save. Seconds are printed without a sign, and a name in
// quotes if it would not be read back without them.
func (m *recentMatch) append(b []byte, family uint8) []byte {
	info := &m.info
	if info.Invert {
		b = append(b, " !"...)
	}
	flag := func(f recent.Flags, name string) {
		if info.CheckSet&f != 0 {
			b = append(append(b, ' '), name...)
		}
	}
	flag(recent.Set, "--set")
	flag(recent.Check, "--rcheck")
	flag(recent.Update, "--update")
	flag(recent.Remove, "--remove")
	if info.Seconds != 0 {
		b = fmt.Appendf(b, " --seconds %d", info.Seconds)
	}
	flag(recent.Reap, "--reap")
	if info.HitCount != 0 {
		b = fmt.Appendf(b, " --hitcount %d", info.HitCount)
	}
	flag(recent.TTL, "--rttl")
	b = append(b, " --name "...)
	if strings.ContainsAny(info.Name, " \t\"") {
		b = quote(b, info.Name)
	} else {
		b = append(b, info.Name...)
	}
	if family == 0 {
		family = unix.NFPROTO_IPV4
	}
	b = addr.AppendNtop(append(b, " --mask "...), family, addr.Load(&info.Mask))
	if info.Side == recent.Dest {
		return append(b, " --rdest"...)
	}
	return append(b, " --rsource"...)
}

// showsFamily reports whether the mask that is printed tells the rule's family.
func (m *recentMatch) showsFamily(family uint8) bool {
	return family == unix.NFPROTO_IPV6 || m.info.Mask != recent.AllOnes
}
