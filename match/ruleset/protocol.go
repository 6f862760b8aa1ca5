package ruleset

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// protocols are the names of xtables_chain_protos, then those of Debian's
// /etc/protocols. The first name of a number is printed.
var protocols = []struct {
	name   string
	number uint8
}{
	{"tcp", unix.IPPROTO_TCP}, {"sctp", unix.IPPROTO_SCTP}, {"udp", unix.IPPROTO_UDP},
	{"udplite", unix.IPPROTO_UDPLITE}, {"icmp", unix.IPPROTO_ICMP}, {"ipv6-icmp", unix.IPPROTO_ICMPV6},
	{"icmpv6", unix.IPPROTO_ICMPV6}, {"esp", unix.IPPROTO_ESP}, {"ah", unix.IPPROTO_AH},
	{"mobility-header", unix.IPPROTO_MH}, {"ipv6-mh", unix.IPPROTO_MH}, {"mh", unix.IPPROTO_MH},
	{"all", 0},

	{"ip", 0}, {"hopopt", 0}, {"igmp", 2}, {"ggp", 3}, {"ipencap", 4}, {"st", 5}, {"egp", 8},
	{"igp", 9}, {"pup", 12}, {"hmp", 20}, {"xns-idp", 22}, {"rdp", 27}, {"iso-tp4", 29},
	{"dccp", unix.IPPROTO_DCCP}, {"xtp", 36}, {"ddp", 37}, {"idpr-cmtp", 38}, {"ipv6", 41},
	{"ipv6-route", 43}, {"ipv6-frag", 44}, {"idrp", 45}, {"rsvp", 46}, {"gre", 47}, {"skip", 57},
	{"ipv6-nonxt", 59}, {"ipv6-opts", 60}, {"rspf", 73}, {"vmtp", 81}, {"eigrp", 88}, {"ospf", 89},
	{"ax.25", 93}, {"ipip", 94}, {"etherip", 97}, {"encap", 98}, {"pim", 103}, {"ipcomp", 108},
	{"vrrp", 112}, {"l2tp", 115}, {"isis", 124}, {"fc", 133}, {"mpls-in-ip", 137}, {"manet", 138},
	{"hip", 139}, {"shim6", 140}, {"wesp", 141}, {"rohc", 142}, {"ethernet", 143},
}

// protocolNumber reads a protocol's name or number: xtables_parse_protocol.
func protocolNumber(name string) (uint8, bool) {
	if n, ok := number(name, 255); ok {
		return uint8(n), true
	}
	for _, p := range protocols {
		if p.name == name {
			return p.number, true
		}
	}
	return 0, false
}

// protocolName is what a protocol is printed as: proto_to_name.
func protocolName(n uint8) string {
	for _, p := range protocols {
		if p.number == n {
			return p.name
		}
	}
	return strconv.Itoa(int(n))
}

// protocolFamily is the family of a rule that asks for a protocol and says
// nothing else of a family; 0 for both.
func protocolFamily(n uint8) uint8 {
	switch n {
	case unix.IPPROTO_ICMP:
		return unix.NFPROTO_IPV4
	case unix.IPPROTO_ICMPV6:
		return unix.NFPROTO_IPV6
	}
	return 0
}
