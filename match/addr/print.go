package addr

import (
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// AppendPI4 prints an IPv4 address as the kernel's %pI4 does.
func AppendPI4(b []byte, a Addr) []byte {
	bytes := a.Bytes()
	for i, v := range bytes[:4] {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// AppendPI6 prints an IPv6 address as the kernel's %pI6 does: eight words of
// four digits each.
func AppendPI6(b []byte, a Addr) []byte {
	const digits = "0123456789abcdef"
	bytes := a.Bytes()
	for i, v := range bytes {
		if i > 0 && i%2 == 0 {
			b = append(b, ':')
		}
		b = append(b, digits[v>>4], digits[v&15])
	}
	return b
}

// AppendNtop prints an address of a family, unix.NFPROTO_IPV4 or
// unix.NFPROTO_IPV6, as inet_ntop does.
func AppendNtop(b []byte, family uint8, a Addr) []byte {
	bytes := a.Bytes()
	if family == unix.NFPROTO_IPV4 {
		return netip.AddrFrom4([4]byte(bytes[:4])).AppendTo(b)
	}
	// Unlike netip, inet_ntop writes ::192.0.2.1 for what is deprecated as an
	// "IPv4-compatible" address.
	if [12]byte(bytes[:12]) == [12]byte{} && (bytes[12] != 0 || bytes[13] != 0) {
		return netip.AddrFrom4([4]byte(bytes[12:])).AppendTo(append(b, "::"...))
	}
	return netip.AddrFrom16(bytes).AppendTo(b)
}
