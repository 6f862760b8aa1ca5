package capture

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// raw parses bytes in groups of hexadecimal digits.
func raw(groups string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(groups, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// ip4 is an IPv4 packet from 192.0.2.7 to 192.0.2.1 with TTL 61 and a correct total
// length.
func ip4(protocol uint8, fragment uint16, options, payload []byte) []byte {
	b := append(raw("45 00 0000 0001 0000 3d 00 0000 c0000207 c0000201"), options...)
	b[0] = 0x40 | uint8(len(b)/4)
	binary.BigEndian.PutUint16(b[6:], fragment)
	b[9] = protocol
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// ip6 is an IPv6 packet from 2001:db8::7 to 2001:db8::1 with hop limit 61 and a
// correct payload length.
func ip6(next uint8, payload ...[]byte) []byte {
	b := raw("60000000 0000 00 3d 20010db8000000000000000000000007 20010db8000000000000000000000001")
	b[6] = next
	b = append(b, slices.Concat(payload...)...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	return b
}

// extend is an IPv6 extension header. size is in bytes and a multiple of 8.
func extend(next uint8, size int) []byte {
	b := make([]byte, size)
	b[0], b[1] = next, uint8(size/8-1)
	return b
}

// fragment is an IPv6 fragment header. offset is in units of 8 bytes.
func fragment(next uint8, offset uint16) []byte {
	b := extend(next, 8)
	b[1] = 0xaa // reserved
	binary.BigEndian.PutUint16(b[2:], offset<<3|1)
	return b
}

func alter(b []byte, at int, v ...byte) []byte {
	copy(b[at:], v)
	return b
}

var (
	tcp  = raw("9c40 0016 00000001 00000000 50 12 ffff 0000 0000")
	udp  = raw("9c40 0016 0008 0000")
	sctp = raw("9c40 0016 00000000 00000000")
	icmp = raw("0803 0000 0001 0001")
)

// head4 and head6 are what packets of ip4 and ip6 decode to. f changes the rest.
func head4(protocol uint8, f func(*Header)) Header {
	h := Header{Family: unix.NFPROTO_IPV4, TTL: 61, Protocol: protocol,
		Src: [16]byte{192, 0, 2, 7}, Dst: [16]byte{192, 0, 2, 1}}
	f(&h)
	return h
}

func head6(protocol uint8, f func(*Header)) Header {
	h := Header{Family: unix.NFPROTO_IPV6, TTL: 61, Protocol: protocol,
		Src: [16]byte{0x20, 1, 0x0d, 0xb8, 15: 7}, Dst: [16]byte{0x20, 1, 0x0d, 0xb8, 15: 1}}
	f(&h)
	return h
}

func bare(*Header)         {}
func noProtocol(h *Header) { h.NoProtocol = true }
func cutPorts(h *Header)   { h.Ports, h.SrcPort, h.DstPort = true, 40000, 22 }
func withPorts(h *Header)  { cutPorts(h); h.Transport = true }
func withTCP(h *Header)    { withPorts(h); h.TCPFlags, h.TCPWindow = 0x12, 0xffff }
func withICMP(h *Header)   { h.Transport, h.ICMPType, h.ICMPCode = true, 8, 3 }
func at(offset uint16) func(*Header) {
	return func(h *Header) { h.FragmentOffset = offset }
}

// packets is a named corpus: each packet, and what the kernel's matches see in it.
var packets = []struct {
	name string
	data []byte
	want Header
}{
	{"tcp", ip4(6, 0x4000, nil, tcp), head4(6, withTCP)},
	{"udp", ip4(17, 0, nil, udp), head4(17, withPorts)},
	{"udp-lite", ip4(136, 0, nil, udp), head4(136, withPorts)},
	{"sctp", ip4(132, 0, nil, sctp), head4(132, withPorts)},
	{"dccp", ip4(33, 0, nil, sctp), head4(33, withPorts)},
	{"icmp", ip4(1, 0, nil, icmp), head4(1, withICMP)},
	{"gre", ip4(47, 0, nil, tcp), head4(47, bare)},
	{"protocol without payload", ip4(255, 0, nil, nil), head4(255, bare)},
	{"icmpv6 in ipv4", ip4(58, 0, nil, icmp), head4(58, bare)},
	{"ah is no extension header in ipv4", ip4(51, 0, nil, slices.Concat(extend(6, 16), tcp)), head4(51, bare)},
	{"options of 4 bytes", ip4(6, 0, raw("01010100"), tcp), head4(6, withTCP)},
	{"options of 40 bytes", ip4(6, 0, make([]byte, 40), tcp), head4(6, withTCP)},
	{"options without meaning", ip4(6, 0, raw("07ff00ff 83020000"), tcp), head4(6, withTCP)},
	{"first fragment", ip4(6, 0x2000, nil, tcp), head4(6, withTCP)},
	{"fragment at 1", ip4(6, 1, nil, tcp), head4(6, at(1))},
	{"last fragment", ip4(17, 0x1fff, nil, udp), head4(17, at(0x1fff))},
	{"reserved bit of the fragment field", ip4(17, 0x8000, nil, udp), head4(17, withPorts)},
	{"trailing padding", append(ip4(17, 0, nil, udp), make([]byte, 18)...), head4(17, withPorts)},
	{"padding is no transport header", append(ip4(17, 0, nil, udp[:6]), make([]byte, 20)...), head4(17, cutPorts)},
	{"cut after the ports", ip4(6, 0, nil, tcp)[:24], head4(6, cutPorts)},
	{"cut in the ports", ip4(6, 0, nil, tcp)[:23], head4(6, bare)},
	{"cut after the header", ip4(6, 0, nil, tcp)[:20], head4(6, bare)},
	{"tcp of 19 bytes", ip4(6, 0, nil, tcp[:19]), head4(6, cutPorts)},
	{"udp of 7 bytes", ip4(17, 0, nil, udp[:7]), head4(17, cutPorts)},
	{"sctp of 11 bytes", ip4(132, 0, nil, sctp[:11]), head4(132, cutPorts)},
	{"icmp of 7 bytes", ip4(1, 0, nil, icmp[:7]), head4(1, bare)},
	{"tcp data offset of 0", ip4(6, 0, nil, alter(slices.Clone(tcp), 12, 0)), head4(6, withTCP)},
	{"udp length of 0", ip4(17, 0, nil, alter(slices.Clone(udp), 4, 0, 0)), head4(17, withPorts)},
	{"total length beyond the data", alter(ip4(6, 0, nil, tcp), 2, 0x05, 0xdc), head4(6, withTCP)},
	{"total length 0, a large segment", alter(ip4(6, 0, nil, tcp), 2, 0, 0), head4(6, withTCP)},
	{"total length of the header alone", alter(ip4(6, 0, nil, tcp), 2, 0, 20), head4(6, bare)},
	{"total length below the header", alter(ip4(6, 0, nil, tcp), 2, 0, 19), Header{}},
	{"header length of 16", alter(ip4(6, 0, nil, tcp), 0, 0x44), Header{}},
	{"header length of 0", alter(ip4(6, 0, nil, tcp), 0, 0x40), Header{}},
	{"header length beyond the data", alter(ip4(6, 0, nil, nil), 0, 0x46), Header{}},
	{"19 bytes of ipv4", ip4(6, 0, nil, tcp)[:19], Header{}},
	{"empty", nil, Header{}},
	{"one byte", []byte{0x45}, Header{}},
	{"version 0", make([]byte, 60), Header{}},
	{"version 5", alter(ip4(6, 0, nil, tcp), 0, 0x55), Header{}},
	{"version 15", slices.Repeat([]byte{0xff}, 80), Header{}},

	{"ipv6 tcp", ip6(6, tcp), head6(6, withTCP)},
	{"ipv6 udp", ip6(17, udp), head6(17, withPorts)},
	{"icmpv6", ip6(58, icmp), head6(58, withICMP)},
	{"icmp in ipv6", ip6(1, icmp), head6(1, bare)},
	{"esp ends the walk", ip6(50, tcp), head6(50, bare)},
	{"no next header", ip6(59, tcp), head6(59, bare)},
	{"mobility header ends the walk", ip6(135, extend(6, 8), tcp), head6(135, bare)},
	{"hop-by-hop", ip6(0, extend(6, 8), tcp), head6(6, withTCP)},
	{"hop-by-hop of 200 bytes", ip6(0, extend(6, 200), tcp), head6(6, withTCP)},
	{"routing", ip6(43, extend(17, 24), udp), head6(17, withPorts)},
	{"destination options", ip6(60, extend(58, 8), icmp), head6(58, withICMP)},
	{"ah of 24 bytes", ip6(51, alter(extend(6, 24), 1, 4), tcp), head6(6, withTCP)},
	{"all of them", ip6(0, extend(60, 8), extend(43, 16), extend(44, 8), fragment(51, 0), alter(extend(60, 16), 1, 2), extend(6, 8), tcp), head6(6, withTCP)},
	{"hop-by-hop twice", ip6(0, extend(0, 8), extend(6, 8), tcp), head6(6, withTCP)},
	{"a hundred headers", ip6(60, slices.Concat(slices.Repeat(extend(60, 8), 99), extend(6, 8), tcp)), head6(6, withTCP)},
	{"ipv6 first fragment", ip6(44, fragment(6, 0), tcp), head6(6, withTCP)},
	{"ipv6 later fragment", ip6(44, fragment(6, 185), tcp), head6(6, at(185))},
	{"later fragment of an extension header", ip6(44, fragment(60, 185), tcp), head6(0, noProtocol)},
	{"later fragment of no next header", ip6(44, fragment(59, 1), tcp), head6(59, at(1))},
	{"extension header cut in its length", ip6(0, []byte{6}), head6(0, noProtocol)},
	{"missing extension header", ip6(0), head6(0, noProtocol)},
	{"routing header of 3 bytes", ip6(43, []byte{6, 0, 0}), head6(0, noProtocol)},
	{"fragment header of 3 bytes", ip6(44, []byte{6, 0, 0}), head6(0, noProtocol)},
	{"fragment header of 4 bytes", ip6(44, []byte{6, 0, 0, 0}), head6(6, bare)},
	{"extension header longer than the data", ip6(60, []byte{6, 255, 0, 0}, tcp), head6(6, bare)},
	{"extension header longer than the data, another one after it", ip6(60, []byte{60, 255, 0, 0}, tcp), head6(0, noProtocol)},
	{"payload length 0, a large segment", alter(ip6(6, tcp), 4, 0, 0), head6(6, withTCP)},
	{"payload length beyond the data", alter(ip6(6, tcp), 4, 0xff, 0xff), head6(6, withTCP)},
	{"payload length below the data", alter(ip6(6, tcp), 4, 0, 19), head6(6, cutPorts)},
	{"ipv6 trailing padding", append(ip6(58, icmp[:4]), make([]byte, 6)...), head6(58, bare)},
	{"39 bytes of ipv6", ip6(6, tcp)[:39], Header{}},
	{"ipv6 header alone", ip6(6, tcp)[:40], head6(6, bare)},
}

func TestDecode(t *testing.T) {
	for _, c := range packets {
		t.Run(c.name, func(t *testing.T) {
			h := Header{Family: 99, Transport: true, ICMPCode: 9, NoProtocol: true} // Decode must overwrite all
			if ok := h.Decode(c.data); ok != (c.want.Family != 0) || h != c.want {
				t.Errorf("%v %+v\nwant %+v", ok, h, c.want)
			}
		})
	}
}

// TestDecodeCut cuts every packet of the corpus at every byte.
func TestDecodeCut(t *testing.T) {
	for _, c := range packets {
		for n := range c.data {
			var h Header
			h.Decode(c.data[:n:n])
			checkHeader(t, &h)
		}
	}
}

// checkHeader checks what holds for the header of any bytes.
func checkHeader(t *testing.T, h *Header) {
	t.Helper()
	switch {
	case h.Family == 0 && *h != Header{},
		h.Family != 0 && h.Family != unix.NFPROTO_IPV4 && h.Family != unix.NFPROTO_IPV6,
		h.Family == unix.NFPROTO_IPV4 && [12]byte(h.Src[4:]) != [12]byte{},
		h.FragmentOffset != 0 && (h.Transport || h.Ports),
		h.FragmentOffset > 0x1fff,
		h.NoProtocol && (h.Protocol != 0 || h.Transport || h.Ports || h.FragmentOffset != 0),
		!h.Ports && (h.SrcPort != 0 || h.DstPort != 0),
		!h.Transport && (h.TCPFlags != 0 || h.TCPWindow != 0 || h.ICMPType != 0 || h.ICMPCode != 0):
		t.Errorf("header %+v", h)
	}
}

func TestDecodeAllocates(t *testing.T) {
	for _, c := range packets {
		var h Header
		if n := testing.AllocsPerRun(10, func() { h.Decode(c.data) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", c.name, n)
		}
	}
}

func TestVerdictQueue(t *testing.T) {
	for _, c := range []struct {
		v      Verdict
		number uint16
		ok     bool
	}{
		{Drop, 0, false}, {Accept, 0, false}, {Repeat, 0, false},
		{ToQueue(0), 0, true}, {ToQueue(7), 7, true}, {ToQueue(65535), 65535, true},
	} {
		if number, ok := c.v.Queue(); ok != c.ok || ok && number != c.number {
			t.Errorf("%#x: queue %d %v, want %d %v", uint32(c.v), number, ok, c.number, c.ok)
		}
	}
	if ToQueue(7) != 7<<16|3 {
		t.Errorf("ToQueue(7) is %#x", uint32(ToQueue(7)))
	}
}
