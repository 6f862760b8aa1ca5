package live

import (
	"regexp"
	"strings"
)

// differenceKind tells differences apart.
type differenceKind uint8

const (
	weRefuse differenceKind = iota // what iptables and the kernel accept
	weTake                         // what they refuse
	printed                        // what both accept, and print differently
)

// ruleDifference is an intended difference.
type ruleDifference struct {
	reason  string
	kind    differenceKind
	tool    string // part of the names of the tools that show it; empty for all
	covers  *regexp.Regexp
	example string // a rule that shows it
}

func (d *ruleDifference) is(kind differenceKind, tool, rule string) bool {
	return d.kind == kind && strings.Contains(tool, d.tool) && d.covers.MatchString(rule)
}

const (
	portOption   = `--(sport|source-port|dport|destination-port)`
	deviceOption = `(-i|-o|--in-interface|--out-interface)`
	networkWord  = `(-s|--source|--src|-d|--destination|--dst)`
	takesNot     = `(-p|--protocol|--tcp-flags|--mark|--ttl-eq|--length|--icmp-type|--icmpv6-type|--ports|--sports|--source-ports|--dports|--destination-ports|` +
		portOption + `|` + deviceOption + `|` + networkWord + `)`
)

// ruleDifferences are all intended differences: the package comment of
// match/ruleset in full. The test fails if an example shows its difference no more.
var ruleDifferences = []ruleDifference{
	{
		reason: "a string that the kernel would cut is refused: a table's name",
		kind:   weRefuse, covers: regexp.MustCompile(`--name[ =]n{200}`),
		example: "-m recent --set --name " + strings.Repeat("n", 200),
	},
	{
		reason: "a string that the kernel would cut is refused: a comment",
		kind:   weRefuse, covers: regexp.MustCompile(`--comment c{256}`),
		example: "-m comment --comment " + strings.Repeat("c", 256),
	},
	{
		reason: "a port that would be cut to 16 bits is refused: getaddrinfo",
		kind:   weRefuse, covers: regexp.MustCompile(`-p (udp|17) .*` + portOption + ` \S*65536`),
		example: "-p udp --dport 65536",
	},
	{
		reason: "names are not looked up: a host name is not a mask",
		kind:   weRefuse, covers: regexp.MustCompile(`--mask[ =]localhost`),
		example: "-m recent --set --mask localhost",
	},
	{
		reason: "a mask with a zone is refused: getaddrinfo accepts the zone and iptables forgets it",
		kind:   weRefuse, covers: regexp.MustCompile(`--mask[ =]\S*%`),
		example: "-m recent --set --mask fe80::%1",
	},
	{
		reason: "a mask written as an IPv6 address makes a rule of IPv6, also one that getaddrinfo maps to IPv4",
		kind:   weRefuse, covers: regexp.MustCompile(`--mask[ =]::ffff:\d+\.`),
		example: "-m recent --set --mask ::ffff:255.255.0.0",
	},
	{
		reason: "a mask of 255.255.255.255 is no mask, also in a rule of IPv6: what iptables-save prints of a rule for both families",
		kind:   weTake, tool: "ip6", covers: regexp.MustCompile(`--mask[ =](255\.255\.255\.255|4294967295)( |$)`),
		example: "-m recent --set --mask 255.255.255.255",
	},
	{
		reason: "iptables prints its help and forgets the rule",
		kind:   weRefuse, covers: regexp.MustCompile(`(^| )-h`),
		example: "-m recent --set -h",
	},
	{
		reason: "a quote that stays open is refused",
		kind:   weRefuse, covers: regexp.MustCompile(`^(?:[^"]|"(?:[^"\\]|\\.)*")*"(?:[^"\\]|\\.)*$`),
		example: `-m recent --set --name "open`,
	},
	{
		reason: "a rule that never matches and would be printed without the reason is refused: no port",
		kind:   weRefuse, covers: regexp.MustCompile(`! ` + portOption + ` (0?:|0?:65535)( |$)`),
		example: "-p tcp -m tcp ! --dport :",
	},
	{
		reason: "a rule that never matches and would be printed without the reason is refused: no device",
		kind:   weRefuse, covers: regexp.MustCompile(`! ` + deviceOption + ` \+( |$)`),
		example: "! -i +",
	},
	{
		reason: "a rule that never matches and would be printed without the reason is refused: no flags",
		kind:   weRefuse, covers: regexp.MustCompile(`--tcp-flags NONE SYN`),
		example: "-p tcp -m tcp --tcp-flags NONE SYN",
	},
	{
		reason: "an address must be good also if its mask is 0: iptables does not look at it then",
		kind:   weRefuse, covers: regexp.MustCompile(networkWord + ` \S+/(0|::|0\.0\.0\.0)( |$)`),
		example: "-s any/0 -m recent --set",
	},
	{
		reason: "! may stand after its option, as before iptables 1.4.3",
		kind:   weTake, covers: regexp.MustCompile(`(^| )` + takesNot + ` !( |$)`),
		example: "-p ! tcp -m recent --set",
	},
	{
		reason: "! may stand after its option: it is not the name of a device",
		kind:   weRefuse, covers: regexp.MustCompile(`(^| )` + deviceOption + ` !( |$)`),
		example: "-i !",
	},
	{
		reason: "iptables looks for the protocol's name in the whole word",
		kind:   weTake, covers: regexp.MustCompile(`(^| )(-p[a-z0-9]|--protocol=)`),
		example: "--protocol=tcp -m recent --set",
	},
	{
		reason: "nf_tables compares a port's bytes itself and does not ask whether -p is inverted, as xt_check_match does",
		kind:   weRefuse, tool: "-nft", covers: regexp.MustCompile(`! (-p|--protocol) (tcp|udp|TCP|Udp|6|17|0x6|021)( |$)`),
		example: "! -p udp -m udp --dport 53",
	},
	{
		reason: "nf_tables cannot compare with a mask of nothing",
		kind:   weTake, tool: "-nft", covers: regexp.MustCompile(`! ` + networkWord + ` \S+/(0|::)( |$)`),
		example: "! -s 0.0.0.0/0 -m recent --set",
	},
	{
		reason: "--seconds are printed without a sign",
		kind:   printed, covers: regexp.MustCompile(`--seconds[ =](2147483648|4294967295|0xffffffff)( |$)`),
		example: "-m recent --rcheck --seconds 2147483648",
	},
	{
		reason: "a table's name that would not read back is printed in quotes",
		kind:   printed, covers: regexp.MustCompile(`--name[ =]"([^"\\]|\\.)*([ \t]|\\")`),
		example: `-m recent --set --name "a b"`,
	},
	{
		reason: "nf_tables keeps an inverted range that begins with port 0 as one that does not",
		kind:   printed, tool: "-nft", covers: regexp.MustCompile(`! ` + portOption + ` 0?:`),
		example: "-p tcp -m tcp ! --dport :1023",
	},
}
