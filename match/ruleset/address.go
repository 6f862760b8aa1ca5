package ruleset

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
)

// network is an address and its mask. The mask may have gaps. The address has
// no bit outside the mask.
type network struct{ addr, mask addr.Addr }

func (n *network) contains(b *[16]byte) bool { return addr.Load(b).And(n.mask) == n.addr }

// parseNetwork reads an address with or without a mask: an element of
// xtables_ipparse_multiple or xtables_ip6parse_multiple. The mask is a number
// of bits or an address. Host names are refused.
func parseNetwork(text string) (n network, family uint8, err error) {
	host, mask, masked := strings.Cut(text, "/")
	family = unix.NFPROTO_IPV4
	parse, parseMask, bits := addr.Numeric4, addr.Mask4, 32
	if strings.Contains(host, ":") {
		family = unix.NFPROTO_IPV6
		parse, parseMask, bits = addr.Pton6, addr.Pton6, 128
	}
	a, ok := parse(host)
	if !ok && family == unix.NFPROTO_IPV4 {
		a, ok = addr.Aton(host) // host_to_ipaddr: getaddrinfo reads fewer and larger numbers
	}
	if !ok {
		return n, 0, fmt.Errorf("%q is not an address: write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32; names are not looked up", text)
	}
	n.mask = addr.Prefix(bits)
	if masked {
		if n.mask, ok = parseMask(mask); !ok {
			length, number := number(mask, uint64(bits))
			if !number {
				return n, 0, fmt.Errorf("%q has no valid mask: write 0 to %d bits, or the mask as an address", text, bits)
			}
			n.mask = addr.Prefix(int(length))
		}
	}
	n.addr = a.And(n.mask)
	return n, family, nil
}

// appendNetwork prints an address and its mask: save_ipv4_addr and
// save_ipv6_addr.
func appendNetwork(b []byte, family uint8, n *network) []byte {
	b = append(addr.AppendNtop(b, family, n.addr), '/')
	if length, ok := n.mask.PrefixLength(); ok {
		return strconv.AppendInt(b, int64(length), 10)
	}
	return addr.AppendNtop(b, family, n.mask)
}
