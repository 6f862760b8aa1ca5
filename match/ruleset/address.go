package ruleset

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// parseNetwork reads an address with or without a mask: an element of
// xtables_ipparse_multiple or xtables_ip6parse_multiple. The mask is a number
// of bits or an address. Host names are refused.
func parseNetwork(text string) (n network, family uint8, err error) {
	addr, mask, masked := strings.Cut(text, "/")
	family = unix.NFPROTO_IPV4
	parse, parseMask, bits := parseIPv4, fullIPv4, 32
	if strings.Contains(addr, ":") {
		family = unix.NFPROTO_IPV6
		parse, parseMask, bits = parseIPv6, parseIPv6, 128
	}
	a, ok := parse(addr)
	if !ok {
		return n, 0, fmt.Errorf("%q is no address: write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32, names are not looked up", text)
	}
	m := prefix(bits)
	if masked {
		if m, ok = parseMask(mask); !ok {
			length, number := number(mask, uint64(bits))
			if !number {
				return n, 0, fmt.Errorf("%q has no valid mask: write 0 to %d bits, or the mask as an address", text, bits)
			}
			m = prefix(int(length))
		}
	}
	n.mask = loadAddress(&m)
	n.addr = loadAddress(&a).and(n.mask)
	return n, family, nil
}

// prefix is a mask of so many bits.
func prefix(bits int) (m [16]byte) {
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// parseIPv4 reads an IPv4 address, whose last bytes may be left out:
// xtables_numeric_to_ipaddr. The bytes may be octal or hexadecimal.
func parseIPv4(text string) (a [16]byte, ok bool) {
	for i := range 4 {
		part, rest, more := strings.Cut(text, ".")
		n, ok := number(part, 255)
		if !ok || i == 3 && more {
			return a, false
		}
		a[i] = byte(n)
		if !more {
			return a, true
		}
		text = rest
	}
	return a, false
}

// fullIPv4 reads an IPv4 address of four bytes: xtables_numeric_to_ipmask.
func fullIPv4(text string) (a [16]byte, ok bool) {
	if strings.Count(text, ".") != 3 {
		return a, false
	}
	return parseIPv4(text)
}

// anyIPv4 reads an IPv4 address as getaddrinfo does: inet_aton. Fewer than four
// numbers will do, the last of them filling all that is left.
func anyIPv4(text string) (a [16]byte, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return a, false
	}
	for i, part := range parts {
		width := 1
		if i == len(parts)-1 {
			width = 4 - i
		}
		n, ok := number(part, 1<<(8*width)-1)
		if !ok || part[0] < '0' || part[0] > '9' {
			return a, false
		}
		for j := i + width; j > i; j-- {
			a[j-1] = byte(n)
			n >>= 8
		}
	}
	return a, true
}

// parseIPv6 follows inet_pton.
func parseIPv6(text string) (a [16]byte, ok bool) {
	ip, err := netip.ParseAddr(text)
	if err != nil || !ip.Is6() || ip.Zone() != "" {
		return a, false
	}
	return ip.As16(), true
}

// appendAddress prints an address as inet_ntop does.
func appendAddress(b []byte, family uint8, a [16]byte) []byte {
	if family == unix.NFPROTO_IPV4 {
		return netip.AddrFrom4([4]byte(a[:4])).AppendTo(b)
	}
	// Unlike netip, inet_ntop writes ::192.0.2.1 for what is deprecated as an
	// "IPv4-compatible" address.
	if [12]byte(a[:12]) == [12]byte{} && (a[12] != 0 || a[13] != 0) {
		return netip.AddrFrom4([4]byte(a[12:])).AppendTo(append(b, "::"...))
	}
	return netip.AddrFrom16(a).AppendTo(b)
}

// appendNetwork prints an address and its mask: save_ipv4_addr and
// save_ipv6_addr.
func appendNetwork(b []byte, family uint8, n *network) []byte {
	b = append(appendAddress(b, family, n.addr.bytes()), '/')
	mask, bits := n.mask.bytes(), 128
	if family == unix.NFPROTO_IPV4 {
		bits = 32
	}
	for length := range bits + 1 {
		if prefix(length) == mask {
			return strconv.AppendInt(b, int64(length), 10)
		}
	}
	return appendAddress(b, family, mask)
}
