package live

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// ruleGen makes random rules with everything that we evaluate. Most of them are
// good, some are damaged.
type ruleGen struct {
	*rand.Rand
	v6 bool
}

func (g *ruleGen) rules(n int) (all []string) {
	for range n {
		rule := g.rule()
		for g.IntN(5) == 0 {
			rule = g.damage(rule)
		}
		all = append(all, rule)
	}
	return all
}

func (g *ruleGen) pick(from ...string) string { return from[g.IntN(len(from))] }

// not is a ! now and then.
func (g *ruleGen) not() string { return g.pick("", "", "", "! ") }

// rule is parts in a random order, except that the protocol comes before a match
// that needs it.
func (g *ruleGen) rule() string {
	var parts []string
	maybe := func(in int, part func() string) {
		if g.IntN(in) == 0 {
			parts = append(parts, part())
		}
	}
	maybe(4, func() string { return g.not() + g.pick("-s ", "--source ", "--src ") + g.network() })
	maybe(4, func() string { return g.not() + g.pick("-d ", "--destination ", "--dst ") + g.network() })
	maybe(5, func() string { return g.not() + g.pick("-i ", "--in-interface ") + g.device() })
	maybe(5, func() string { return g.not() + g.pick("-o ", "--out-interface ") + g.device() })
	maybe(4, func() string { return g.mark("-m mark " + g.not() + "--mark ") })
	maybe(6, g.ttl)
	maybe(6, g.length)
	maybe(4, func() string { return "-m comment --comment " + g.text(20) })
	maybe(2, g.recent)
	maybe(3, g.recent)
	maybe(2, g.target)
	g.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	if g.IntN(3) > 0 {
		at := g.IntN(len(parts) + 1)
		parts = append(parts[:at:at], append([]string{g.transport()}, parts[at:]...)...)
	}
	return strings.Join(parts, " ")
}

func (g *ruleGen) network() string {
	if g.IntN(12) == 0 {
		return g.address() + "," + g.address()
	}
	a := g.address()
	switch {
	case g.IntN(2) == 0:
		return a
	case g.v6 && g.IntN(4) == 0:
		return a + "/" + g.pick("ffff::", "ffff:ffff::ff00", "::")
	case g.v6:
		return fmt.Sprintf("%s/%d", a, g.IntN(130))
	case g.IntN(4) == 0:
		return a + "/" + g.pick("255.0.0.0", "255.0.255.0", "0.0.0.255", "255.255.255.255")
	}
	return fmt.Sprintf("%s/%d", a, g.IntN(34))
}

func (g *ruleGen) address() string {
	if !g.v6 {
		return g.pick("10.1.2.3", "192.0.2.1", "0.0.0.0", "255.255.255.255", "10", "172.16", "1.2.3", "010.0x10.0.1", "4294967295", "16909060", "1.65535", "4294967296",
			fmt.Sprintf("%d.%d.%d.%d", g.IntN(256), g.IntN(256), g.IntN(256), g.IntN(257)))
	}
	return g.pick("::", "::1", "2001:db8::1", "2001:DB8:0:0:1::", "::ffff:1.2.3.4", "::1.2.3.4", "fe80::1:0:0:1",
		fmt.Sprintf("%x:%x::%x:%x", g.IntN(65536), g.IntN(16), g.IntN(65536), g.IntN(65540)))
}

func (g *ruleGen) device() string {
	return g.pick("eth0", "eth+", "+", "lo", "br-lan", "wlan0.1", "a", "veth12345678901", "veth123456789012", "e:0", "é", "a*b", "a/b", "a!'b")
}

func (g *ruleGen) protocol() string {
	return g.pick("tcp", "udp", "sctp", "dccp", "udplite", "icmp", "icmpv6", "ipv6-icmp", "esp", "ah", "gre", "all", "ip", "TCP", "Udp",
		"0", "1", "6", "17", "58", "132", "47", "250", "255", "256", "0x6", "021")
}

// transport is a -p, with or without the match of that protocol.
func (g *ruleGen) transport() string {
	p := g.not() + g.pick("-p ", "--protocol ")
	switch g.IntN(8) {
	case 0:
		return p + g.protocol()
	case 1:
		p = g.pick("-p tcp", "-p 6") + g.pick("", " -m tcp")
		if g.IntN(2) == 0 {
			p += " " + g.ports()
		}
		return p + g.pick("", " --syn", " ! --syn", " --tcp-flags SYN,ACK SYN", " ! --tcp-flags ALL NONE", " --tcp-flags fin,psh,urg ALL", " --tcp-flags NONE NONE", " --tcp-flags rst RST,SYN")
	case 2:
		return "-p udp" + g.pick("", " -m udp") + " " + g.ports()
	case 3:
		return "-p sctp" + g.pick("", " -m sctp") + " " + g.ports()
	case 4, 5:
		return "-p " + g.pick("tcp", "udp", "sctp", "dccp", "udplite", "17") + " -m multiport " + g.not() +
			g.pick("--sports ", "--dports ", "--ports ", "--source-ports ", "--destination-ports ") + g.portList()
	}
	if g.v6 {
		return "-p " + g.pick("icmpv6", "ipv6-icmp", "58") + g.pick("", " -m icmp6", " -m icmpv6") + " " + g.not() + "--icmpv6-type " +
			g.pick("128", "echo-request", "1/3", "no-route", "redirect", "255", "0", "neighbour-advertisement", "neigh", "ttl-zero-during-transit", "256", "1/", "133/7", "pong", "bad")
	}
	return "-p " + g.pick("icmp", "1") + g.pick("", " -m icmp") + " " + g.not() + "--icmp-type " +
		g.pick("8", "echo-request", "3/1", "host-unreachable", "any", "255", "0", "3/0", "TOS-host-redirect", "tos-host-redirect", "echo", "256", "3/", "11/256", "ping", "router-adv")
}

func (g *ruleGen) ports() string {
	var all []string
	for _, o := range []string{g.pick("--sport ", "--source-port "), g.pick("--dport ", "--destination-port ")} {
		if g.IntN(2) == 0 {
			all = append(all, g.not()+o+g.pick(g.port(), g.port(), g.port()+":"+g.port(), g.port()+":", ":"+g.port(), ":"))
		}
	}
	return strings.Join(all, " ")
}

func (g *ruleGen) port() string {
	return g.pick("0", "1", "22", "ssh", "domain", "http", "1024", "65535", "65536", "0x16", "026", fmt.Sprint(g.IntN(65536)), fmt.Sprint(g.IntN(65536)))
}

func (g *ruleGen) portList() string {
	var all []string
	for range 1 + g.IntN(5)*g.IntN(4) {
		all = append(all, g.pick(g.port(), g.port(), g.port()+":"+g.port()))
	}
	return strings.Join(all, ",")
}

func (g *ruleGen) mark(option string) string {
	value := func() string {
		return g.pick("0", "1", "0x1", "010", "0xffffffff", "4294967295", "0xDEADbeef", fmt.Sprintf("%#x", g.Uint32()), "4294967296", "-1")
	}
	return option + value() + g.pick("", "", "/"+value())
}

// ttl has two options now and then, which iptables refuses, and ip6tables refuses
// it altogether.
func (g *ruleGen) ttl() string {
	one := func() string {
		return g.pick("--ttl-eq ", "! --ttl-eq ", "--ttl ", "--ttl-lt ", "--ttl-gt ", "! --ttl-lt ") +
			g.pick("0", "1", "64", "0x40", "0100", "255", "256", "-1", fmt.Sprint(g.IntN(256)), fmt.Sprint(g.IntN(256)))
	}
	if g.v6 && g.IntN(4) > 0 {
		return "-m mark --mark 0"
	}
	if g.IntN(8) == 0 {
		return "-m ttl " + one() + " " + one()
	}
	return "-m ttl " + one()
}

func (g *ruleGen) length() string {
	number := func() string {
		return g.pick("", "0", "40", "0x3c", "074", "1500", "65535", "65536", fmt.Sprint(g.IntN(65536)), fmt.Sprint(g.IntN(65536)))
	}
	return "-m length " + g.not() + "--length " + g.pick("5"+number(), number()+":", ":"+number(), number()+":"+number(), number()+":"+number())
}

// text is an argument of any characters, up to a number of bytes.
func (g *ruleGen) text(most int) string {
	const characters = `abcXYZ019_-.,:;!?@#$%&*+/=<>()[]{}^~|'"\ ` + "\t"
	var b strings.Builder
	for range 1 + g.IntN(most) {
		c := characters[g.IntN(len(characters))]
		if g.IntN(2) == 0 {
			c = characters[g.IntN(10)]
		}
		if c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return `"` + b.String() + `"`
}

func (g *ruleGen) recent() string {
	words := []string{g.not() + g.pick(recentActions...)}
	checks := strings.HasSuffix(words[0], "k") || strings.HasSuffix(words[0], "update")
	for _, o := range []string{
		fmt.Sprint("--seconds ", 1+g.IntN(1<<g.IntN(31))), fmt.Sprint("--hitcount ", g.IntN(1+1<<g.IntN(17))), "--reap", "--rttl",
	} {
		if chance := 2; checks && g.IntN(chance) == 0 || g.IntN(50) == 0 {
			words = append(words, o)
		}
	}
	for _, o := range []string{"--name " + g.pick("a", "b", "SSH", "a.b", "c-d_e", "x:y", "n'n"), g.pick("--rsource", "--rdest"), "--mask " + g.mask()} {
		if g.IntN(2) == 0 {
			words = append(words, o)
		}
	}
	g.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	return "-m recent " + strings.Join(words, " ")
}

func (g *ruleGen) mask() string {
	if g.v6 {
		return g.pick("ffff::", "ffff:ffff:ffff:ffff::", "::", "::ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1.2.3.4", fmt.Sprintf("%x:%x::", g.IntN(65536), g.IntN(65536)))
	}
	return g.pick("255.255.255.255", "255.255.255.0", "255.0.0.0", "0.0.0.0", "0.255.0.255", fmt.Sprintf("%d.%d.0.0", g.IntN(256), g.IntN(256)))
}

func (g *ruleGen) target() string {
	switch g.IntN(5) {
	case 0:
		return g.mark("-j MARK " + g.pick("--set-mark ", "--set-xmark ", "--and-mark ", "--or-mark ", "--xor-mark "))
	case 1:
		return "-j NFQUEUE" + g.pick("", " --queue-num "+g.port()) + g.pick("", "", " --queue-bypass")
	case 2:
		return "-j LOG" + g.pick("", " --log-prefix "+g.text(20)) + g.pick("", " --log-level "+g.pick("0", "4", "7", "8", "debug", "warning", "info", "err", "error", "panic")) +
			g.pick("", " --log-uid", " --log-tcp-options --log-ip-options", " --log-ip-options --log-tcp-sequence", " --log-uid=1", " --log-tcp")
	}
	return g.pick("-j ACCEPT", "-j DROP", "-j RETURN", "-j user", "-g user", "--jump DROP", "--goto user")
}

// damage takes a word out, repeats one, swaps two, or puts a ! in.
func (g *ruleGen) damage(rule string) string {
	words := strings.Split(rule, " ")
	i, j := g.IntN(len(words)), g.IntN(len(words))
	switch g.IntN(4) {
	case 0:
		words = append(words[:i:i], words[i+1:]...)
	case 1:
		words = append(words[:i:i], words[max(i-1, 0):]...)
	case 2:
		words[i], words[j] = words[j], words[i]
	case 3:
		words = append(words[:i:i], append([]string{"!"}, words[i:]...)...)
	}
	return strings.Join(words, " ")
}
