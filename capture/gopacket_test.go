package capture

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Decode must agree with gopacket on what gopacket decodes. But gopacket cannot
// replace Decode: it allocates for options and errors, which any sender can send
// (BenchmarkDecode), and refuses packets that the kernel matches
// (TestGopacketRefuses).

// agree compares Decode with gopacket, on packets that gopacket decodes completely.
func agree(t *testing.T, data []byte) {
	var h Header
	ok := h.Decode(data)
	checkHeader(t, &h)
	if len(data) == 0 || data[0]>>4 != 4 && data[0]>>4 != 6 {
		if ok {
			t.Errorf("version %d decodes", data[0]>>4)
		}
		return
	}
	first := layers.LayerTypeIPv4
	if data[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(data, first, gopacket.DecodeOptions{NoCopy: true})
	if p.ErrorLayer() != nil {
		return
	}
	all := p.Layers()
	if len(all) == 0 {
		return
	}
	switch ip := all[0].(type) {
	case *layers.IPv4:
		same(t, "source", h.Src, ip.SrcIP)
		same(t, "destination", h.Dst, ip.DstIP)
		if h.TTL != ip.TTL || h.Protocol != uint8(ip.Protocol) || h.FragmentOffset != ip.FragOffset {
			t.Errorf("%+v, gopacket has %+v", h, ip)
		}
	case *layers.IPv6:
		same(t, "source", h.Src, ip.SrcIP)
		same(t, "destination", h.Dst, ip.DstIP)
		if h.TTL != ip.HopLimit {
			t.Errorf("%+v, gopacket has %+v", h, ip)
		}
	}
	if ip, ok := all[0].(*layers.IPv6); ok && int(ip.Length)+40 != len(data) {
		return // after a hop-by-hop header gopacket takes padding for payload
	}
	for _, l := range all[1:] {
		switch l := l.(type) {
		case *layers.TCP:
			flags := l.Contents[13]
			if !h.Transport || h.SrcPort != uint16(l.SrcPort) || h.DstPort != uint16(l.DstPort) || h.TCPFlags != flags || h.TCPWindow != l.Window {
				t.Errorf("%+v, gopacket has %+v", h, l)
			}
		case *layers.UDP:
			if !h.Transport || h.SrcPort != uint16(l.SrcPort) || h.DstPort != uint16(l.DstPort) {
				t.Errorf("%+v, gopacket has %+v", h, l)
			}
		case *layers.SCTP:
			if !h.Transport || h.SrcPort != uint16(l.SrcPort) || h.DstPort != uint16(l.DstPort) {
				t.Errorf("%+v, gopacket has %+v", h, l)
			}
		case *layers.IPv6HopByHop, *layers.IPv6Routing, *layers.IPv6Destination, *layers.IPv6Fragment, *layers.IPSecAH:
			if first == layers.LayerTypeIPv6 {
				continue // in IPv4 they are protocols to the kernel
			}
		}
		return // Decode does not look into tunnels
	}
}

func same(t *testing.T, what string, ours [16]byte, theirs []byte) {
	t.Helper()
	var want [16]byte
	copy(want[:], theirs)
	if ours != want {
		t.Errorf("%s %x, gopacket has %x", what, ours, want)
	}
}

func TestAgree(t *testing.T) {
	for _, c := range packets {
		t.Run(c.name, func(t *testing.T) { agree(t, c.data) })
	}
}

// named returns a packet of the corpus.
func named(t testing.TB, name string) (data []byte, want Header) {
	t.Helper()
	for _, c := range packets {
		if c.name == name {
			return c.data, c.want
		}
	}
	t.Fatalf("no packet %q", name)
	return nil, Header{}
}

// TestGopacketRefuses has packets whose ports the kernel's matches compare, but
// which gopacket refuses.
func TestGopacketRefuses(t *testing.T) {
	for _, name := range []string{"options without meaning", "tcp data offset of 0"} {
		data, want := named(t, name)
		p := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.Default)
		if p.ErrorLayer() == nil {
			t.Errorf("gopacket decodes %q", name)
		}
		if !want.Transport {
			t.Errorf("%q has no transport header here", name)
		}
	}
}

// BenchmarkDecode compares Decode with the decoder of gopacket that allocates least.
func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{
		"tcp", "options of 40 bytes", "options without meaning", "ipv6 tcp", "all of them", "udp of 7 bytes",
	} {
		data, _ := named(b, name)
		b.Run(name+"/ours", func(b *testing.B) {
			var h Header
			b.ReportAllocs()
			for b.Loop() {
				h.Decode(data)
			}
		})
		b.Run(name+"/gopacket", func(b *testing.B) {
			var ip4 layers.IPv4
			var ip6 layers.IPv6
			var hop layers.IPv6HopByHop
			var routing layers.IPv6Routing
			var dest layers.IPv6Destination
			var frag layers.IPv6Fragment
			var ah layers.IPSecAH
			var tcp layers.TCP
			var udp layers.UDP
			first := layers.LayerTypeIPv4
			if data[0]>>4 == 6 {
				first = layers.LayerTypeIPv6
			}
			var set gopacket.DecodingLayerContainer = gopacket.DecodingLayerSparse(nil)
			for _, l := range []any{&ip4, &ip6, &hop, &routing, &dest, &frag, &ah, &tcp, &udp} {
				if d, ok := l.(gopacket.DecodingLayer); ok {
					set = set.Put(d)
				}
			}
			parser := gopacket.NewDecodingLayerParser(first)
			parser.SetDecodingLayerContainer(set)
			parser.IgnoreUnsupported = true
			decoded := make([]gopacket.LayerType, 0, 16)
			b.ReportAllocs()
			for b.Loop() {
				parser.DecodeLayers(data, &decoded) // an error is a result too
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data) })
}
