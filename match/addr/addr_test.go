package addr

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// of is the address of these first bytes.
func of(bytes ...byte) Addr {
	var b [16]byte
	copy(b[:], bytes)
	return Load(&b)
}

// TestReaders gives each reader texts and the addresses that they are. An
// address that is refused is nil.
func TestReaders(t *testing.T) {
	type texts map[string][]byte
	bytes := func(read func([]byte) (Addr, bool)) func(string) (Addr, bool) {
		return func(text string) (Addr, bool) { return read([]byte(text)) }
	}
	for _, c := range []struct {
		name  string
		read  func(string) (Addr, bool)
		texts texts
	}{
		{"in4_pton", bytes(Parse4), texts{
			"192.0.2.1": {192, 0, 2, 1}, "001.002.003.0004": {1, 2, 3, 4}, "1.2.3.4\nx": {1, 2, 3, 4},
			"1.2.3.4\x00x": {1, 2, 3, 4}, "1.2.3.4:x": {1, 2, 3, 4}, "255.255.255.255": {255, 255, 255, 255},
			"": nil, ".": nil, "1.2.3": nil, "1.2.3.": nil, "1.2.3.4.": nil, "1.2.3.4.5": nil, "1..3.4": nil,
			"256.1.1.1": nil, "1.2.3.4 ": nil, " 1.2.3.4": nil, "0x1.2.3.4": nil, "a.2.3.4": nil, "-1.2.3.4": nil,
		}},
		{"in6_pton", bytes(Parse6), texts{
			"::": {}, "::1": {15: 1}, "1::": {1: 1}, "1::8": {1: 1, 15: 8}, "::1\nx": {15: 1}, "::1\x00x": {15: 1},
			"0001:0002:3:4:5:6:7:8": {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8},
			"ABCD::EF":              {0: 0xab, 1: 0xcd, 15: 0xef},
			"::1.2.3.4":             {12: 1, 13: 2, 14: 3, 15: 4}, "::1.2.3.4:x": {12: 1, 13: 2, 14: 3, 15: 4},
			"1:2:3:4:5:6:7.8.9.10": {1: 1, 3: 2, 5: 3, 7: 4, 9: 5, 11: 6, 12: 7, 13: 8, 14: 9, 15: 10},
			"1::7.8.9.10":          {1: 1, 12: 7, 13: 8, 14: 9, 15: 10},
			"::ffff:1.2.3.4":       {10: 255, 11: 255, 12: 1, 13: 2, 14: 3, 15: 4},
			"":                     nil, ":": nil, ":::": nil, "1": nil, "1:": nil, "1::2::3": nil, "12345::": nil, "1:2:3:4:5:6:7": nil,
			"1:2:3:4:5:6:7:8:9": nil, "fe80::1%lo": nil, "::1/128": nil, "::1 ": nil, "1.2.3.4": nil, "::1.2.3": nil,
			"1:2:3:4:5:6:7:1.2.3.4": nil, "1:2:3:4:5:1.2.3.4": nil, "1:2:3:4:5:6:7:8:": nil, "1::3:4:5:6:7:8:9": nil,
		}},
		{"xtables_numeric_to_ipaddr", Numeric4, texts{
			"192.0.2.1": {192, 0, 2, 1}, "10": {10}, "10.1": {10, 1}, "0x0a.010.1.2": {10, 8, 1, 2}, "0xa.0.0": {10}, "00": {}, "+1. 2.\t3.4": {1, 2, 3, 4},
			"": nil, ".": nil, "10.": nil, "1.2.3.4.5": nil, "256": nil, "08": nil, "0x": nil, "0x100": nil, "-1": nil, "1_0": nil, "0b1": nil, "0o7": nil, "1.2.3.4x": nil,
		}},
		{"xtables_numeric_to_ipmask", Mask4, texts{
			"255.255.0.0": {255, 255}, "0.0.0.255": {3: 255}, "255.255": nil, "255.255.0.0.0": nil, "255.255.0.256": nil,
		}},
		{"inet_aton", Aton, texts{
			"255": {3: 255}, "255.255": {0: 255, 3: 255}, "255.255.65280": {255, 255, 255}, "0xffffff00": {255, 255, 255}, "0377.0.0.0": {255},
			"": nil, ".": nil, "1.2.3.4.5": nil, "256.0.0.0": nil, "255.255.65536": nil, "4294967296": nil, "+1": nil, " 1": nil, "255.": nil, ".255": nil, "08.0.0.0": nil,
		}},
		{"inet_pton", Pton6, texts{
			"::": {}, "2001:db8::1": {0x20, 1, 0xd, 0xb8, 15: 1}, "::1.2.3.4": {12: 1, 13: 2, 14: 3, 15: 4},
			"": nil, "1.2.3.4": nil, "fe80::1%lo": nil, "::1\n": nil, "::1/128": nil,
		}},
	} {
		for text, want := range c.texts {
			a, ok := c.read(text)
			if ok != (want != nil) || ok && a != of(want...) {
				t.Errorf("%s of %q: %x, %v, want %x", c.name, text, a.Bytes(), ok, want)
			}
		}
	}
}

func TestPrinters(t *testing.T) {
	for _, c := range []struct {
		a            Addr
		family       uint8
		kernel, libc string // %pI4 or %pI6, and inet_ntop
	}{
		{of(192, 0, 2, 1), unix.NFPROTO_IPV4, "192.0.2.1", "192.0.2.1"},
		{of(), unix.NFPROTO_IPV4, "0.0.0.0", "0.0.0.0"},
		{of(), unix.NFPROTO_IPV6, "0000:0000:0000:0000:0000:0000:0000:0000", "::"},
		{Prefix(128), unix.NFPROTO_IPV6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{of([]byte{0x20, 1, 0x0d, 0xb8, 15: 1}...), unix.NFPROTO_IPV6, "2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"},
		{of([]byte{15: 1}...), unix.NFPROTO_IPV6, "0000:0000:0000:0000:0000:0000:0000:0001", "::1"},
		{of([]byte{12: 192, 15: 1}...), unix.NFPROTO_IPV6, "0000:0000:0000:0000:0000:0000:c000:0001", "::192.0.0.1"},
		{of([]byte{10: 255, 11: 255, 12: 192, 15: 1}...), unix.NFPROTO_IPV6, "0000:0000:0000:0000:0000:ffff:c000:0001", "::ffff:192.0.0.1"},
	} {
		kernel := AppendPI6
		if c.family == unix.NFPROTO_IPV4 {
			kernel = AppendPI4
		}
		if got := string(kernel([]byte("a="), c.a)); got != "a="+c.kernel {
			t.Errorf("the kernel's %s, want %s", got, c.kernel)
		}
		if got := string(AppendNtop([]byte("a="), c.family, c.a)); got != "a="+c.libc {
			t.Errorf("inet_ntop's %s, want %s", got, c.libc)
		}
	}
}

// TestRoundTrip reads again what was printed.
func TestRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		a := Addr{random.Uint64(), random.Uint64()}.And(Addr{random.Uint64(), random.Uint64()})
		a4 := a.And(Prefix(32))
		if got, ok := Parse4(AppendPI4(nil, a4)); !ok || got != a4 {
			t.Errorf("%x was printed as %s", a4.Bytes(), AppendPI4(nil, a4))
		}
		if got, ok := Numeric4(string(AppendNtop(nil, unix.NFPROTO_IPV4, a4))); !ok || got != a4 {
			t.Errorf("%x was printed as %s", a4.Bytes(), AppendNtop(nil, unix.NFPROTO_IPV4, a4))
		}
		if got, ok := Parse6(AppendPI6(nil, a)); !ok || got != a {
			t.Errorf("%x was printed as %s", a.Bytes(), AppendPI6(nil, a))
		}
		if got, ok := Pton6(string(AppendNtop(nil, unix.NFPROTO_IPV6, a))); !ok || got != a {
			t.Errorf("%x was printed as %s", a.Bytes(), AppendNtop(nil, unix.NFPROTO_IPV6, a))
		}
	}
}

func TestPrefix(t *testing.T) {
	for bits := range 129 {
		mask := Prefix(bits)
		ones := 0
		for i, b := range mask.Bytes() {
			for bit := range 8 {
				if set := b&(0x80>>bit) != 0; set != (8*i+bit < bits) {
					t.Fatalf("the mask of %d bits is %x", bits, mask.Bytes())
				} else if set {
					ones++
				}
			}
		}
		if n, ok := mask.PrefixLength(); !ok || n != bits || ones != bits {
			t.Errorf("the mask of %d bits has length %d, %v", bits, n, ok)
		}
	}
	if n, ok := of(255, 0, 255).PrefixLength(); ok {
		t.Errorf("a mask with a gap has length %d", n)
	}
	if got := Load(&[16]byte{192, 0, 2, 77}).And(of(255, 255, 255)); got != of(192, 0, 2) {
		t.Errorf("192.0.2.77 under 255.255.255.0 is %x", got.Bytes())
	}
}
