package ruleset

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// protocols are the names of xtables_chain_protos and, behind them, those of
// a Debian's /etc/protocols. The first name of a number is the one printed.
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

// parsePort reads a port's number, or the name that the protocol has for it in
// /etc/services: xtables_parse_port.
func parsePort(text, protocol string) (uint16, error) {
	if n, ok := number(text, 65535); ok {
		return uint16(n), nil
	}
	return serviceByName(text, protocol)
}

// parseUDPPort is for the udp match, which leaves a port to getaddrinfo: a
// number is decimal, and a name may be any protocol's (xtables_getportbyname).
// A number that would be cut to 16 bits there is refused.
func parseUDPPort(text string) (uint16, error) {
	digits := strings.TrimPrefix(strings.TrimLeft(text, " \t"), "+")
	if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
		return uint16(n), nil
	}
	return serviceByName(text, "tcp", "udp", "dccp", "udplite", "sctp")
}

// serviceByName is the port that the first of the protocols has under a name.
func serviceByName(name string, protocols ...string) (uint16, error) {
	all := services()
	for _, p := range protocols {
		if n, ok := all[name+"/"+p]; ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("port %q is neither a number, 0 to 65535, nor a name that %s has for %s",
		name, servicesFile, strings.Join(protocols, ", "))
}

const servicesFile = "/etc/services"

// services are the ports by name and protocol, "ssh/tcp": getservbyname. They
// are read when a rule first asks for one, and none where there is no file.
var services = sync.OnceValue(func() map[string]uint16 {
	text, _ := os.ReadFile(servicesFile)
	return parseServices(text)
})

func parseServices(text []byte) map[string]uint16 {
	all := make(map[string]uint16)
	for line := range bytes.Lines(text) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		word := strings.Fields(string(line))
		if len(word) < 2 {
			continue
		}
		port, protocol, _ := strings.Cut(word[1], "/")
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			continue
		}
		for _, name := range append(word[2:], word[0]) {
			if key := name + "/" + protocol; all[key] == 0 {
				all[key] = uint16(n)
			}
		}
	}
	return all
}
