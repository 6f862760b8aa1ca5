package ruleset

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
	"recentfs/match/recent"
)

// recentOptions are those of libxt_recent.c.
var recentOptions = []option{
	{names: []string{"set"}, invertible: true, read: readAction(recent.Set)},
	{names: []string{"rcheck"}, invertible: true, read: readAction(recent.Check)},
	{names: []string{"update"}, invertible: true, read: readAction(recent.Update)},
	{names: []string{"remove"}, invertible: true, read: readAction(recent.Remove)},
	{names: []string{"seconds"}, args: 1, read: readSeconds},
	{names: []string{"reap"}, read: readFlag(recent.Reap)},
	{names: []string{"hitcount"}, args: 1, read: readHitCount},
	{names: []string{"rttl"}, read: readFlag(recent.TTL)},
	{names: []string{"name"}, args: 1, read: readName},
	{names: []string{"rsource"}, read: readSide(recent.Source)},
	{names: []string{"rdest"}, read: readSide(recent.Dest)},
	{names: []string{"mask"}, args: 1, read: readMask},
}

// recentInfo is what the match says so far: recent_init.
func (m *match) recentInfo() *recent.Info {
	if m.info == nil {
		m.info = &recent.Info{Name: "DEFAULT", Mask: recent.AllOnes}
	}
	return m.info
}

func readAction(f recent.Flags) func(*line, *given) error {
	return func(_ *line, g *given) error {
		info := g.match.recentInfo()
		info.CheckSet |= f
		info.Invert = info.Invert || g.invert
		return nil
	}
}

func readFlag(f recent.Flags) func(*line, *given) error {
	return func(_ *line, g *given) error {
		g.match.recentInfo().CheckSet |= f
		return nil
	}
}

func readSide(s recent.Side) func(*line, *given) error {
	return func(_ *line, g *given) error {
		g.match.recentInfo().Side = s
		return nil
	}
}

func readSeconds(_ *line, g *given) error {
	n, ok := number(g.arg[0], 1<<32-1)
	if !ok || n == 0 {
		return fmt.Errorf("%s %q: a number from 1 to 4294967295 is needed", g.as, g.arg[0])
	}
	g.match.recentInfo().Seconds = uint32(n)
	return nil
}

func readHitCount(_ *line, g *given) error {
	n, ok := number(g.arg[0], 1<<32-1)
	if !ok {
		return fmt.Errorf("%s %q: a number is needed", g.as, g.arg[0])
	}
	g.match.recentInfo().HitCount = uint32(n)
	return nil
}

func readName(_ *line, g *given) error {
	g.match.recentInfo().Name = g.arg[0]
	return nil
}

// readMask reads a mask. One of IPv4 leaves nothing of an IPv6 address but its
// first four bytes and one of IPv6 means nothing to IPv4, so that a mask makes
// the rule one for its family; except 255.255.255.255, which iptables-save
// prints where there is no mask, and which changes no address here.
func readMask(l *line, g *given) error {
	text := g.arg[0]
	parse, family := addr.Aton, uint8(unix.NFPROTO_IPV4)
	if strings.Contains(text, ":") {
		parse, family = addr.Pton6, unix.NFPROTO_IPV6
	}
	mask, ok := parse(text)
	if !ok {
		return fmt.Errorf("%s %q: write the mask as an address such as ffff:ffff:: or 255.255.255.0", g.as, text)
	}
	if family == unix.NFPROTO_IPV4 && mask == addr.Prefix(32) {
		mask = addr.Prefix(128)
	} else if err := l.only(family, g.as+" "+text); err != nil {
		return err
	}
	g.match.recentInfo().Mask = mask.Bytes()
	return nil
}

func checkRecent(l *line, m *match) error {
	if err := l.params.CheckRule(m.recentInfo()); err != nil {
		return fmt.Errorf("-m recent: %w", err)
	}
	return nil
}
