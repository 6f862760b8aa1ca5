// Package addr reads and prints network addresses as the kernel and iptables do,
// which take and write forms that net/netip does not.
//
// What a write to a table's file holds follows in4_pton and in6_pton of
// net/core/utils.c; a table's lines and the log follow %pI4 and %pI6 of
// lib/vsprintf.c. What a rule holds follows xtables_numeric_to_ipaddr and
// xtables_numeric_to_ipmask of iptables' libxtables/xtables.c, and inet_aton,
// inet_pton and inet_ntop of the C library, which libxtables calls.
package addr

import "encoding/binary"

// Addr is an address, or a mask, as two machine words. In memory its bytes are
// in network order. IPv4 takes the first four, and the others are 0.
type Addr struct{ Lo, Hi uint64 }

// Load makes an Addr of the bytes of an address.
func Load(b *[16]byte) Addr {
	return Addr{binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])}
}

// Bytes are the bytes that Load takes.
func (a Addr) Bytes() (b [16]byte) {
	binary.NativeEndian.PutUint64(b[:8], a.Lo)
	binary.NativeEndian.PutUint64(b[8:], a.Hi)
	return b
}

// And is the address under a mask.
func (a Addr) And(mask Addr) Addr { return Addr{a.Lo & mask.Lo, a.Hi & mask.Hi} }

// Prefix is the mask whose first bits are ones, up to 128.
func Prefix(bits int) Addr {
	var b [16]byte
	for i := range bits {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return Load(&b)
}

// PrefixLength is the number of bits that Prefix made the mask of. It is false
// for a mask with a gap.
func (a Addr) PrefixLength() (bits int, ok bool) {
	for bits := range 128 + 1 {
		if a == Prefix(bits) {
			return bits, true
		}
	}
	return 0, false
}
