package addr

import (
	"net/netip"
	"strconv"
	"strings"
)

// Numeric4 reads an IPv4 address, whose last bytes may be left out:
// xtables_numeric_to_ipaddr. The bytes may be octal or hexadecimal.
func Numeric4(text string) (Addr, bool) {
	var b [16]byte
	for i := range 4 {
		part, rest, more := strings.Cut(text, ".")
		n, ok := strtoul(part, 8)
		if !ok || i == 3 && more {
			return Addr{}, false
		}
		b[i] = byte(n)
		if !more {
			break
		}
		text = rest
	}
	return Load(&b), true
}

// Mask4 reads an IPv4 mask of four bytes: xtables_numeric_to_ipmask.
func Mask4(text string) (Addr, bool) {
	if strings.Count(text, ".") != 3 {
		return Addr{}, false
	}
	return Numeric4(text)
}

// Aton reads an IPv4 address as inet_aton does, and so getaddrinfo. There may
// be fewer than four numbers. Then the last one fills the remaining bytes.
func Aton(text string) (Addr, bool) {
	var b [16]byte
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return Addr{}, false
	}
	for i, part := range parts {
		width := 1
		if i == len(parts)-1 {
			width = 4 - i
		}
		n, ok := strtoul(part, 8*width)
		if !ok || part[0] < '0' || part[0] > '9' {
			return Addr{}, false
		}
		for j := i + width; j > i; j-- {
			b[j-1] = byte(n)
			n >>= 8
		}
	}
	return Load(&b), true
}

// Pton6 reads an IPv6 address as inet_pton does.
func Pton6(text string) (Addr, bool) {
	ip, err := netip.ParseAddr(text)
	if err != nil || !ip.Is6() || ip.Zone() != "" {
		return Addr{}, false
	}
	b := ip.As16()
	return Load(&b), true
}

// strtoul reads a whole number of so many bits as strtoul does with base 0: 0x
// makes it hexadecimal, a leading 0 octal; spaces and a + may stand in front.
func strtoul(text string, bits int) (uint64, bool) {
	text = strings.TrimPrefix(strings.TrimLeft(text, " \t"), "+")
	base := 10
	switch {
	case len(text) > 2 && (text[:2] == "0x" || text[:2] == "0X"):
		text, base = text[2:], 16
	case len(text) > 1 && text[0] == '0':
		text, base = text[1:], 8
	}
	// ParseUint takes neither a sign nor, with a base given, an underscore.
	n, err := strconv.ParseUint(text, base, bits)
	return n, err == nil
}
