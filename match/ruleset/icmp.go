package ruleset

import (
	"fmt"
	"strings"
)

// icmpName is a type's name, or a type's and code's: struct xt_icmp_names.
type icmpName struct {
	name              string
	kind              uint8
	codeLow, codeHigh uint8
}

const anyICMP = 255 // the type that stands for all in struct ipt_icmp

var icmpNames = []icmpName{
	{"any", anyICMP, 0, 255},
	{"echo-reply", 0, 0, 255}, {"pong", 0, 0, 255},
	{"destination-unreachable", 3, 0, 255},
	{"network-unreachable", 3, 0, 0}, {"host-unreachable", 3, 1, 1},
	{"protocol-unreachable", 3, 2, 2}, {"port-unreachable", 3, 3, 3},
	{"fragmentation-needed", 3, 4, 4}, {"source-route-failed", 3, 5, 5},
	{"network-unknown", 3, 6, 6}, {"host-unknown", 3, 7, 7},
	{"network-prohibited", 3, 9, 9}, {"host-prohibited", 3, 10, 10},
	{"TOS-network-unreachable", 3, 11, 11}, {"TOS-host-unreachable", 3, 12, 12},
	{"communication-prohibited", 3, 13, 13}, {"host-precedence-violation", 3, 14, 14},
	{"precedence-cutoff", 3, 15, 15},
	{"source-quench", 4, 0, 255},
	{"redirect", 5, 0, 255},
	{"network-redirect", 5, 0, 0}, {"host-redirect", 5, 1, 1},
	{"TOS-network-redirect", 5, 2, 2}, {"TOS-host-redirect", 5, 3, 3},
	{"echo-request", 8, 0, 255}, {"ping", 8, 0, 255},
	{"router-advertisement", 9, 0, 255}, {"router-solicitation", 10, 0, 255},
	{"time-exceeded", 11, 0, 255}, {"ttl-exceeded", 11, 0, 255},
	{"ttl-zero-during-transit", 11, 0, 0}, {"ttl-zero-during-reassembly", 11, 1, 1},
	{"parameter-problem", 12, 0, 255},
	{"ip-header-bad", 12, 0, 0}, {"required-option-missing", 12, 1, 1},
	{"timestamp-request", 13, 0, 255}, {"timestamp-reply", 14, 0, 255},
	{"address-mask-request", 17, 0, 255}, {"address-mask-reply", 18, 0, 255},
}

var icmp6Names = []icmpName{
	{"destination-unreachable", 1, 0, 255},
	{"no-route", 1, 0, 0}, {"communication-prohibited", 1, 1, 1}, {"beyond-scope", 1, 2, 2},
	{"address-unreachable", 1, 3, 3}, {"port-unreachable", 1, 4, 4},
	{"failed-policy", 1, 5, 5}, {"reject-route", 1, 6, 6},
	{"packet-too-big", 2, 0, 255},
	{"time-exceeded", 3, 0, 255}, {"ttl-exceeded", 3, 0, 255},
	{"ttl-zero-during-transit", 3, 0, 0}, {"ttl-zero-during-reassembly", 3, 1, 1},
	{"parameter-problem", 4, 0, 255},
	{"bad-header", 4, 0, 0}, {"unknown-header-type", 4, 1, 1}, {"unknown-option", 4, 2, 2},
	{"echo-request", 128, 0, 255}, {"ping", 128, 0, 255},
	{"echo-reply", 129, 0, 255}, {"pong", 129, 0, 255},
	{"router-solicitation", 133, 0, 255}, {"router-advertisement", 134, 0, 255},
	{"neighbour-solicitation", 135, 0, 255}, {"neighbor-solicitation", 135, 0, 255},
	{"neighbour-advertisement", 136, 0, 255}, {"neighbor-advertisement", 136, 0, 255},
	{"redirect", 137, 0, 255},
}

func readICMPType(l *line, g *given) error  { return g.readType(icmpNames) }
func readICMP6Type(l *line, g *given) error { return g.readType(icmp6Names) }

// readType reads a name, of which the beginning is enough, or "TYPE" or
// "TYPE/CODE" in numbers: ipt_parse_icmp. A range of codes, of which
// iptables-save prints only the first, is refused.
func (g *given) readType(names []icmpName) error {
	m := g.match
	m.asked |= one
	if g.invert {
		m.inverted |= one
	}
	text := g.arg[0]
	var fit []icmpName
	for _, n := range names {
		if len(n.name) >= len(text) && strings.EqualFold(n.name[:len(text)], text) {
			fit = append(fit, n)
		}
	}
	switch {
	case len(fit) > 1:
		return fmt.Errorf("%s %q may be %s or %s: write more of the name", g.as, text, fit[0].name, fit[1].name)
	case len(fit) == 1:
		m.icmpType, m.codeLow, m.codeHigh = fit[0].kind, fit[0].codeLow, fit[0].codeHigh
		return nil
	}
	kind, code, hasCode := strings.Cut(text, "/")
	k, ok := number(kind, 255)
	m.icmpType = uint8(k)
	if hasCode && ok {
		var c uint64
		c, ok = number(code, 255)
		m.codeLow, m.codeHigh = uint8(c), uint8(c)
	}
	if !ok {
		return fmt.Errorf("%s %q is no type: write a name such as echo-request, or a number with or without a code, as 3/1", g.as, text)
	}
	return nil
}

func checkICMP(l *line, m *match) error {
	if m.asked == 0 {
		return fmt.Errorf("-m icmp needs --icmp-type, which may be any")
	}
	return nil
}

func checkICMP6(l *line, m *match) error {
	if m.asked == 0 {
		return fmt.Errorf("-m icmp6 needs --icmpv6-type")
	}
	return nil
}
