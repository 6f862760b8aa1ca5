package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// matches are the matches that can be evaluated here, each with the options of
// its iptables extension.
var matches = []*extension{
	{
		name: "tcp", match: matchTCP, protocol: unix.IPPROTO_TCP,
		options: []option{
			{names: []string{"source-port", "sport"}, args: 1, invertible: true, read: readSourcePort},
			{names: []string{"destination-port", "dport"}, args: 1, invertible: true, read: readDestPort},
			{names: []string{"syn"}, invertible: true, read: readSYN},
			{names: []string{"tcp-flags"}, args: 2, invertible: true, read: readTCPFlags},
			{names: []string{"tcp-option"}, args: 1, invertible: true, read: refuseKernelOnly},
		},
	},
	{
		name: "udp", match: matchUDP, protocol: unix.IPPROTO_UDP,
		options: []option{
			{names: []string{"source-port", "sport"}, args: 1, invertible: true, read: readSourcePort},
			{names: []string{"destination-port", "dport"}, args: 1, invertible: true, read: readDestPort},
		},
	},
	{
		name: "sctp", match: matchSCTP, protocol: unix.IPPROTO_SCTP,
		options: []option{
			{names: []string{"source-port", "sport"}, args: 1, invertible: true, read: readSourcePort},
			{names: []string{"destination-port", "dport"}, args: 1, invertible: true, read: readDestPort},
			{names: []string{"chunk-types"}, args: 2, invertible: true, read: refuseKernelOnly},
		},
	},
	{
		name: "multiport", match: matchMultiport, check: checkMultiport,
		options: []option{
			{names: []string{"source-ports", "sports"}, args: 1, invertible: true, read: readMultiSource},
			{names: []string{"destination-ports", "dports"}, args: 1, invertible: true, read: readMultiDest},
			{names: []string{"ports"}, args: 1, invertible: true, read: readMultiEither},
		},
	},
	{
		name: "icmp", match: matchICMP, protocol: unix.IPPROTO_ICMP, check: checkICMP,
		options: []option{{names: []string{"icmp-type"}, args: 1, invertible: true, read: readICMPType}},
	},
	{
		name: "icmp6", match: matchICMP6, protocol: unix.IPPROTO_ICMPV6, check: checkICMP6,
		options: []option{{names: []string{"icmpv6-type"}, args: 1, invertible: true, read: readICMP6Type}},
	},
	{
		name: "mark", match: matchMark, check: checkMark,
		options: []option{{names: []string{"mark"}, args: 1, invertible: true, read: readMark}},
	},
	{
		name: "comment", match: matchComment, check: checkComment,
		options: []option{{names: []string{"comment"}, args: 1, read: readComment}},
	},
	{name: "recent", match: matchRecent, check: checkRecent, options: recentOptions},
}

func refuseKernelOnly(_ *line, g *given) error {
	return fmt.Errorf("%s: only the kernel can match this: put it on the kernel's rule that queues", g.as)
}

func readSourcePort(l *line, g *given) (err error) {
	g.match.src, err = l.readPorts(g, sourcePorts)
	return err
}

func readDestPort(l *line, g *given) (err error) {
	g.match.dst, err = l.readPorts(g, destPorts)
	return err
}

// readPorts reads PORT, LOW:HIGH, LOW: or :HIGH: parse_tcp_ports,
// parse_sctp_ports, and xtopt_parse_mport for udp, which takes ranges upside
// down: no port is in them. All ports inverted would never match, and tcp and
// udp would lose it when printed.
func (l *line) readPorts(g *given, c conditions) (ports, error) {
	parse := parseUDPPort
	switch g.match.kind {
	case matchTCP:
		parse = func(text string) (uint16, error) { return parsePort(text, "tcp") }
	case matchSCTP:
		parse = func(text string) (uint16, error) { return parsePort(text, "sctp") }
	}
	low, high, isRange := strings.Cut(g.arg[0], ":")
	r := allPorts
	var err error
	if low != "" || !isRange {
		if r.low, err = parse(low); err != nil {
			return r, fmt.Errorf("%s: %w", g.as, err)
		}
		r.high = r.low
	}
	if isRange {
		r.high = allPorts.high
		if high != "" {
			if r.high, err = parse(high); err != nil {
				return r, fmt.Errorf("%s: %w", g.as, err)
			}
		}
	}
	switch {
	case r.low > r.high && g.match.kind != matchUDP:
		return r, fmt.Errorf("%s %s: the first port is the larger one, swap them", g.as, g.arg[0])
	case r == allPorts && g.invert && g.match.kind != matchSCTP:
		return r, fmt.Errorf("! %s %s would never match: leave it out", g.as, g.arg[0])
	}
	g.match.ask(g, c)
	return r, nil
}

// ask notes a condition and its !.
func (m *match) ask(g *given, c conditions) {
	m.asked |= c
	if g.invert {
		m.inverted |= c
	}
}

// flagNames are the bits of a TCP header's 14th byte, from bit 0.
var flagNames = []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"}

const (
	flagSYN  = 0x02
	synFlags = 0x17 // FIN, SYN, RST, ACK
	allFlags = 0x3f
)

func readSYN(l *line, g *given) error {
	return g.setFlags(synFlags, flagSYN)
}

func readTCPFlags(l *line, g *given) error {
	if strings.HasPrefix(g.arg[1], "-") || strings.HasPrefix(g.arg[1], "!") {
		return fmt.Errorf("%s needs two lists: the flags to look at and those that are set, as SYN,ACK SYN", g.as)
	}
	mask, err := parseFlags(g, g.arg[0])
	if err != nil {
		return err
	}
	comp, err := parseFlags(g, g.arg[1])
	if err != nil {
		return err
	}
	if mask == 0 && comp != 0 && !g.invert {
		return fmt.Errorf("%s %s %s would never match: leave it out", g.as, g.arg[0], g.arg[1])
	}
	return g.setFlags(mask, comp)
}

func (g *given) setFlags(mask, comp uint8) error {
	m := g.match
	if m.asked&tcpFlags != 0 {
		return errors.New("--syn and --tcp-flags are one condition: leave one out, or add a -m tcp for the other")
	}
	m.ask(g, tcpFlags)
	m.flagMask, m.flagComp = mask, comp
	return nil
}

// parseFlags follows parse_tcp_flag.
func parseFlags(g *given, text string) (flags uint8, err error) {
next:
	for name := range strings.SplitSeq(text, ",") {
		for i, n := range flagNames {
			if strings.EqualFold(n, name) {
				flags |= 1 << i
				continue next
			}
		}
		switch strings.ToUpper(name) {
		case "ALL":
			flags |= allFlags
		case "NONE", "":
		default:
			return 0, fmt.Errorf("%s: there is no TCP flag %q, but %s, ALL and NONE", g.as, name, strings.Join(flagNames, ", "))
		}
	}
	return flags, nil
}

func readMark(l *line, g *given) (err error) {
	g.match.ask(g, one)
	g.match.mark, g.match.mask, err = parseMark(g)
	return err
}

func checkMark(l *line, m *match) error {
	if m.asked == 0 {
		return errors.New("-m mark needs --mark VALUE or --mark VALUE/MASK")
	}
	return nil
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
		return 0, 0, fmt.Errorf("%s %q: write VALUE or VALUE/MASK, numbers from 0 to 0xffffffff", g.as, g.arg[0])
	}
	return uint32(v), uint32(m), nil
}

const maxComment = 255 // XT_MAX_COMMENT_LEN, less its final NUL

func readComment(l *line, g *given) error {
	if len(g.arg[0]) > maxComment {
		return fmt.Errorf("%s has %d bytes: the kernel keeps %d, shorten it", g.as, len(g.arg[0]), maxComment)
	}
	g.match.asked |= one
	g.match.comment = g.arg[0]
	return nil
}

func checkComment(l *line, m *match) error {
	if m.asked == 0 {
		return errors.New(`-m comment needs --comment "TEXT"`)
	}
	return nil
}
