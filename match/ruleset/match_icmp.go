package ruleset

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"recentfs/capture"
)

// typeMatch is what -m icmp and -m icmp6 have in common: struct ipt_icmp and
// struct ip6t_icmp.
type typeMatch struct {
	icmpType          uint8
	codeLow, codeHigh uint8
	given, inverted   bool
}

// icmpMatch is -m icmp.
type icmpMatch struct{ typeMatch }

// icmp6Match is -m icmp6.
type icmp6Match struct{ typeMatch }

// icmpName is a type's name, or a type's and code's: struct xt_icmp_names.
type icmpName struct {
	name              string
	icmpType          uint8
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

func (m *icmpMatch) options() []option {
	return []option{{names: []string{"icmp-type"}, args: 1, invertible: true, read: m.readType(icmpNames)}}
}

func (m *icmp6Match) options() []option {
	return []option{{names: []string{"icmpv6-type"}, args: 1, invertible: true, read: m.readType(icmp6Names)}}
}

// readType reads a name, of which the beginning is enough, or "TYPE" or
// "TYPE/CODE" in numbers: ipt_parse_icmp. A range of codes, of which
// iptables-save prints only the first, is refused.
func (m *typeMatch) readType(names []icmpName) func(*line, *given) error {
	return func(_ *line, g *given) error {
		m.given, m.inverted = true, g.inverted
		text := g.arg[0]
		var fit []icmpName
		for _, n := range names {
			if len(n.name) >= len(text) && strings.EqualFold(n.name[:len(text)], text) {
				fit = append(fit, n)
			}
		}
		switch {
		case len(fit) > 1:
			return fmt.Errorf("%s %q may be %s or %s: write the name in full", g.name, text, fit[0].name, fit[1].name)
		case len(fit) == 1:
			m.icmpType, m.codeLow, m.codeHigh = fit[0].icmpType, fit[0].codeLow, fit[0].codeHigh
			return nil
		}
		if !m.parseNumbers(text) {
			return fmt.Errorf("%s %q is not an ICMP type: write a name such as echo-request, or a number with or without a code, such as 3/1", g.name, text)
		}
		return nil
	}
}

func (m *typeMatch) parseNumbers(text string) bool {
	icmpType, code, hasCode := strings.Cut(text, "/")
	n, ok := number(icmpType, 255)
	m.icmpType, m.codeLow, m.codeHigh = uint8(n), 0, 255
	if hasCode && ok {
		n, ok = number(code, 255)
		m.codeLow, m.codeHigh = uint8(n), uint8(n)
	}
	return ok
}

func (m *icmpMatch) check(*line) error {
	if !m.given {
		return errors.New("-m icmp needs --icmp-type, which may be any")
	}
	return nil
}

func (m *icmp6Match) check(*line) error {
	if !m.given {
		return errors.New("-m icmp6 needs --icmpv6-type")
	}
	return nil
}

// meets follows icmp_match, and icmp_type_code_match, which knows a type that
// stands for all.
func (m *icmpMatch) meets(p *capture.Packet, _ *hold) outcome {
	if o := hasTransport(p); o != yes {
		return o
	}
	return when((m.icmpType == anyICMP || m.isType(p)) != m.inverted)
}

// meets follows icmp6_match.
func (m *icmp6Match) meets(p *capture.Packet, _ *hold) outcome {
	if o := hasTransport(p); o != yes {
		return o
	}
	return when(m.isType(p) != m.inverted)
}

func (m *typeMatch) isType(p *capture.Packet) bool {
	return p.ICMPType == m.icmpType && m.codeLow <= p.ICMPCode && p.ICMPCode <= m.codeHigh
}

func (m *icmpMatch) append(b []byte, _ uint8) []byte {
	b = appendOption(b, m.inverted, "--icmp-type ")
	if m.icmpType == anyICMP {
		return append(b, "any"...)
	}
	return m.appendType(b)
}

func (m *icmp6Match) append(b []byte, _ uint8) []byte {
	return m.appendType(appendOption(b, m.inverted, "--icmpv6-type "))
}

// appendType follows icmp_save.
func (m *typeMatch) appendType(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(m.icmpType), 10)
	if m.codeLow != 0 || m.codeHigh != 255 {
		b = strconv.AppendUint(append(b, '/'), uint64(m.codeLow), 10)
	}
	return b
}
