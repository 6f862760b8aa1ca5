package ruleset

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/sys/unix"
)

// ruleOptions are the options of iptables itself. Those that make no sense in
// a file are here because they make abbreviations ambiguous.
var ruleOptions = []option{
	{names: []string{"append"}, letter: 'A', args: 1, read: readAppend},
	{names: []string{"insert"}, letter: 'I', args: 1, read: readInsert},
	{names: []string{"new-chain"}, letter: 'N', args: 1, read: readNewChain},
	{names: []string{"policy"}, letter: 'P', args: 2, read: readPolicy},
	{names: []string{"source", "src"}, letter: 's', args: 1, invertible: true, read: readSource},
	{names: []string{"destination", "dst"}, letter: 'd', args: 1, invertible: true, read: readDest},
	{names: []string{"protocol"}, letter: 'p', args: 1, invertible: true, read: readProtocol},
	{names: []string{"in-interface"}, letter: 'i', args: 1, invertible: true, read: readIn},
	{names: []string{"out-interface"}, letter: 'o', args: 1, invertible: true, read: readOut},
	{names: []string{"fragments"}, letter: 'f', invertible: true, read: readFragments},
	{names: []string{"match"}, letter: 'm', args: 1, repeatable: true, read: readMatch},
	{names: []string{"jump"}, letter: 'j', args: 1, read: readJump},
	{names: []string{"goto"}, letter: 'g', args: 1, read: readGoto},
	{names: []string{"ipv4"}, letter: '4', repeatable: true, read: readIPv4},
	{names: []string{"ipv6"}, letter: '6', repeatable: true, read: readIPv6},
	{names: []string{"delete"}, letter: 'D', read: refuseCommand},
	{names: []string{"check"}, letter: 'C', read: refuseCommand},
	{names: []string{"replace"}, letter: 'R', read: refuseCommand},
	{names: []string{"list"}, letter: 'L', read: refuseCommand},
	{names: []string{"list-rules"}, letter: 'S', read: refuseCommand},
	{names: []string{"flush"}, letter: 'F', read: refuseCommand},
	{names: []string{"zero"}, letter: 'Z', read: refuseCommand},
	{names: []string{"delete-chain"}, letter: 'X', read: refuseCommand},
	{names: []string{"rename-chain"}, letter: 'E', read: refuseCommand},
	{names: []string{"table"}, letter: 't', read: refuseOption},
	{names: []string{"numeric"}, letter: 'n', read: refuseOption},
	{names: []string{"verbose"}, letter: 'v', read: refuseOption},
	{names: []string{"wait"}, letter: 'w', read: refuseOption},
	{names: []string{"wait-interval"}, letter: 'W', read: refuseOption},
	{names: []string{"exact"}, letter: 'x', read: refuseOption},
	{names: []string{"version"}, letter: 'V', read: refuseOption},
	{names: []string{"help"}, letter: 'h', read: refuseOption},
	{names: []string{"line-numbers"}, read: refuseOption},
	{names: []string{"modprobe"}, letter: 'M', read: refuseOption},
	{names: []string{"set-counters"}, letter: 'c', args: 1, read: readCounters},
}

func refuseCommand(_ *line, g *given) error {
	return fmt.Errorf("%s: a file has -A, -I, -N and -P only, write the rules in their final order", g.name)
}

func refuseOption(_ *line, g *given) error {
	return fmt.Errorf("%s has no meaning in a file: leave it out", g.name)
}

func (l *line) setCommand(g *given, command byte) error {
	if l.command != 0 {
		return fmt.Errorf("%s and -%c in one line: put each on a line of its own", g.name, l.command)
	}
	l.command, l.chain = command, g.arg[0]
	return nil
}

func readAppend(l *line, g *given) error   { return l.setCommand(g, 'A') }
func readNewChain(l *line, g *given) error { return l.setCommand(g, 'N') }

// readInsert reads "-I CHAIN [NUMBER]".
func readInsert(l *line, g *given) error {
	l.position = 1
	if text, ok := l.optional(); ok {
		n, ok := number(text, math.MaxInt32)
		if !ok || n == 0 {
			return fmt.Errorf("%s %s %q: a rule has a number from 1 on", g.name, g.arg[0], text)
		}
		l.position = int(n)
	}
	return l.setCommand(g, 'I')
}

// readCounters reads "-c PACKETS BYTES" or "-c PACKETS,BYTES". Counters begin at
// 0 here, as those before a rule do for iptables-restore without -c.
func readCounters(l *line, g *given) error {
	l.counted = true
	packets, bytes, both := strings.Cut(g.arg[0], ",")
	if !both {
		bytes, _ = l.optional()
	}
	if !isDecimal(packets) || !isDecimal(bytes) {
		return fmt.Errorf("%s needs two numbers, of packets and of bytes", g.name)
	}
	return nil
}

// optional takes the next word if it can be a value: xs_has_arg.
func (l *line) optional() (word string, ok bool) {
	if l.next == len(l.words) || strings.IndexByte("-!", (l.words[l.next] + "-")[0]) >= 0 {
		return "", false
	}
	l.next++
	return l.words[l.next-1], true
}

func readPolicy(l *line, g *given) error {
	l.policy = g.arg[1]
	return l.setCommand(g, 'P')
}

func readSource(l *line, g *given) (err error) {
	l.src, err = l.readNetworks(g, testSource)
	return err
}

func readDest(l *line, g *given) (err error) {
	l.dst, err = l.readNetworks(g, testDest)
	return err
}

func (l *line) readNetworks(g *given, t tests) ([]network, error) {
	l.invert(g, t)
	var all []network
	for text := range strings.SplitSeq(g.arg[0], ",") {
		n, family, err := parseNetwork(strings.TrimLeft(text, " \t"))
		if err != nil {
			return nil, fmt.Errorf("%s %w", g.name, err)
		}
		if err := l.only(family, g.name+" "+text); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// invert notes the ! of a condition.
func (l *line) invert(g *given, t tests) {
	if g.inverted {
		l.rule.inverted |= t
	}
}

// readProtocol follows xtables_parse_protocol.
func readProtocol(l *line, g *given) error {
	n, ok := protocolNumber(strings.ToLower(g.arg[0]))
	if !ok {
		return fmt.Errorf("%s %q is not a known protocol: write its number, 0 to 255", g.name, g.arg[0])
	}
	if n == 0 && g.inverted {
		return fmt.Errorf("! %s %s would never match: leave it out", g.name, g.arg[0])
	}
	l.rule.protocol = n
	l.invert(g, testProtocol)
	l.rule.test(testProtocol, n != 0)
	return nil
}

func readIn(l *line, g *given) (err error) {
	l.rule.in, err = l.readDevice(g, testIn)
	return err
}

func readOut(l *line, g *given) (err error) {
	l.rule.out, err = l.readDevice(g, testOut)
	return err
}

// readDevice follows xtables_parse_interface.
func (l *line) readDevice(g *given, t tests) (device, error) {
	name := g.arg[0]
	switch {
	case name == "" || name == "!" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, " \t\""):
		// iptables takes spaces, quotes and -i!, and prints what is not read back.
		return device{}, fmt.Errorf("%s %q is not a device name: a name has 1 to %d characters without spaces and quotes, and ! is none",
			g.name, name, unix.IFNAMSIZ-1)
	case name == "+" && g.inverted:
		return device{}, fmt.Errorf("! %s + would never match: leave it out", g.name)
	}
	var d device
	d.name, d.prefix = strings.CutSuffix(name, "+")
	l.invert(g, t)
	l.rule.test(t, d.name != "")
	return d, nil
}

func readFragments(l *line, g *given) error {
	l.invert(g, testFragment)
	l.rule.test(testFragment, true)
	return l.only(unix.NFPROTO_IPV4, g.name)
}

func readIPv4(l *line, g *given) error { return l.only(unix.NFPROTO_IPV4, g.name) }
func readIPv6(l *line, g *given) error { return l.only(unix.NFPROTO_IPV6, g.name) }

func readMatch(l *line, g *given) error {
	name := g.arg[0]
	if name == "icmpv6" || name == "ipv6-icmp" {
		name = "icmp6" // xtables_find_match
	}
	e := findMatch(name)
	if e == nil {
		return unknownMatch(name)
	}
	l.loadMatch(e)
	return nil
}

func readJump(l *line, g *given) error {
	if e := findTarget(g.arg[0]); e != nil {
		return l.loadTarget(e)
	}
	return l.call(g, targetJump)
}

func readGoto(l *line, g *given) error { return l.call(g, targetGoto) }

// call makes a chain the rule's target.
func (l *line) call(g *given, kind targetKind) error {
	if err := l.setTarget(kind); err != nil {
		return err
	}
	i, ok := l.byName[g.arg[0]]
	if !ok {
		return once{chainKey(g.arg[0]), l.unknownJump(g.name, g.arg[0])}
	}
	if l.file.chains[i].builtin {
		return fmt.Errorf("%s %s: only its queue enters a built-in chain, use a chain of your own", g.name, g.arg[0])
	}
	l.rule.to = i
	return nil
}

func (l *line) setTarget(kind targetKind) error {
	if l.rule.kind != targetNone {
		return errors.New("two targets: a rule has one -j or -g")
	}
	l.rule.kind = kind
	return nil
}
