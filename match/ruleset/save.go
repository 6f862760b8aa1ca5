package ruleset

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
	"recentfs/match/recent"
)

// Save prints the rules as iptables-save does, without counters. Reading the
// text and printing it again gives the same text.
func (f *File) Save(w io.Writer) error {
	_, err := w.Write(f.save(func(int, int) (uint64, uint64) { return 0, 0 }, false))
	return err
}

// save prints all: do_output of iptables-save.c. count tells the counters of a
// chain's rule, that behind the last one being its policy.
func (f *File) save(count func(chain, rule int) (packets, bytes uint64), withRules bool) []byte {
	b := []byte("*" + tableName + "\n")
	for i := range f.chains {
		c := &f.chains[i]
		if !c.builtin {
			b = fmt.Appendf(b, ":%s - [0:0]\n", c.name)
			continue
		}
		packets, bytes := count(i, len(c.rules))
		b = fmt.Appendf(b, ":%s %s [%d:%d]\n", c.name, targetName(c.policy), packets, bytes)
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

func targetName(kind targetKind) string {
	for _, t := range targets {
		if t.target == kind {
			return t.name
		}
	}
	return ""
}

// appendRule prints what follows the chain's name: print_rule4.
func (f *File) appendRule(b []byte, r *rule) []byte {
	if r.family != 0 && !r.familyShows() {
		b = append(b, map[uint8]string{unix.NFPROTO_IPV4: " -4", unix.NFPROTO_IPV6: " -6"}[r.family]...)
	}
	b = r.head.append(b)
	for i := range r.matches {
		b = r.matches[i].append(b, r.family)
	}
	return f.appendTarget(b, &r.target)
}

// familyShows reports whether what is printed of a rule for one family tells
// which, so that -4 and -6 need not.
func (r *rule) familyShows() bool {
	if r.asked&(testSource|testDest|testFragment) != 0 {
		return true
	}
	if r.protocol == unix.IPPROTO_ICMP || r.protocol == unix.IPPROTO_ICMPV6 {
		if r.inverted&testProtocol == 0 {
			return true
		}
	}
	for i := range r.matches {
		m := &r.matches[i]
		if m.kind == matchRecent && (r.family == unix.NFPROTO_IPV6 || m.info.Mask != recent.AllOnes) {
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

// append prints a match: print_match_save and the extension's save.
func (m *match) append(b []byte, family uint8) []byte {
	for _, e := range matches {
		if e.match == m.kind {
			b = append(append(b, " -m "...), e.name...)
		}
	}
	switch m.kind {
	case matchTCP, matchUDP, matchSCTP:
		return m.appendPorts(b)
	case matchMultiport:
		return m.appendMultiport(b)
	case matchICMP:
		b = appendOption(b, m.inverted != 0, "--icmp-type ")
		if m.icmpType == anyICMP {
			return append(b, "any"...)
		}
		return m.appendType(b)
	case matchICMP6:
		return m.appendType(appendOption(b, m.inverted != 0, "--icmpv6-type "))
	case matchMark:
		b = fmt.Appendf(appendOption(b, m.inverted != 0, "--mark "), "%#x", m.mark)
		if m.mask != 1<<32-1 {
			b = fmt.Appendf(b, "/%#x", m.mask)
		}
		return b
	case matchComment:
		return quote(append(b, " --comment "...), m.comment)
	}
	return appendRecent(b, m.info, family)
}

// appendPorts follows tcp_save, udp_save and sctp_save.
func (m *match) appendPorts(b []byte) []byte {
	option := func(c conditions, name string, r ports) {
		if m.asked&c != 0 && (r != allPorts || m.kind == matchSCTP) {
			b = r.append(appendOption(b, m.inverted&c != 0, name))
		}
	}
	option(sourcePorts, "--sport ", m.src)
	option(destPorts, "--dport ", m.dst)
	if inverted := m.inverted&tcpFlags != 0; m.flagMask != 0 || inverted {
		b = appendFlags(appendOption(b, inverted, "--tcp-flags "), m.flagMask)
		b = appendFlags(append(b, ' '), m.flagComp)
	}
	return b
}

func (r ports) append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(r.low), 10)
	if r.low != r.high {
		b = strconv.AppendUint(append(b, ':'), uint64(r.high), 10)
	}
	return b
}

func appendFlags(b []byte, flags uint8) []byte {
	var names []string
	for i, n := range flagNames {
		if flags&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	if names == nil {
		names = []string{"NONE"}
	}
	return append(b, strings.Join(names, ",")...)
}

func (m *match) appendMultiport(b []byte) []byte {
	name := map[conditions]string{
		sourcePorts:             "--sports ",
		destPorts:               "--dports ",
		sourcePorts | destPorts: "--ports ",
	}[m.multi.of]
	b = appendOption(b, m.inverted != 0, name)
	for i, r := range m.multi.list {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.append(b)
	}
	return b
}

// appendType follows icmp_save.
func (m *match) appendType(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(m.icmpType), 10)
	if m.codeLow != 0 || m.codeHigh != 255 {
		b = strconv.AppendUint(append(b, '/'), uint64(m.codeLow), 10)
	}
	return b
}

// appendRecent follows recent_save. Seconds are printed without a sign, and a
// name in quotes if it would not be read back without.
func appendRecent(b []byte, info *recent.Info, family uint8) []byte {
	if info.Invert {
		b = append(b, " !"...)
	}
	option := func(f recent.Flags, name string) {
		if info.CheckSet&f != 0 {
			b = append(append(b, ' '), name...)
		}
	}
	option(recent.Set, "--set")
	option(recent.Check, "--rcheck")
	option(recent.Update, "--update")
	option(recent.Remove, "--remove")
	if info.Seconds != 0 {
		b = fmt.Appendf(b, " --seconds %d", info.Seconds)
	}
	option(recent.Reap, "--reap")
	if info.HitCount != 0 {
		b = fmt.Appendf(b, " --hitcount %d", info.HitCount)
	}
	option(recent.TTL, "--rttl")
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

func (f *File) appendTarget(b []byte, t *target) []byte {
	switch t.kind {
	case targetNone:
		return b
	case targetJump:
		return append(append(b, " -j "...), f.chains[t.to].name...)
	case targetGoto:
		return append(append(b, " -g "...), f.chains[t.to].name...)
	}
	b = append(append(b, " -j "...), targetName(t.kind)...)
	switch t.kind {
	case targetMark:
		b = fmt.Appendf(b, " --set-xmark %#x/%#x", t.mark, t.mask)
	case targetQueue:
		b = fmt.Appendf(b, " --queue-num %d", t.queue)
	case targetLog:
		b = t.log.append(b)
	}
	return b
}
