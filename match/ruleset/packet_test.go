package ruleset

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// packet is a forwarded SYN from port 1024 to port 22, changed by what follows.
func packet(src, dst string, change ...func(*capture.Packet)) capture.Packet {
	p := capture.Packet{Hook: capture.Forward, In: "eth0", Out: "eth1", Length: 60}
	p.Header = capture.Header{TTL: 64, Protocol: unix.IPPROTO_TCP, Transport: true, Ports: true, SrcPort: 1024, DstPort: 22, TCPFlags: flagSYN}
	p.Family = setAddress(&p.Src, src)
	setAddress(&p.Dst, dst)
	for _, c := range change {
		c(&p)
	}
	return p
}

func setAddress(a *[16]byte, text string) (family uint8) {
	ip := netip.MustParseAddr(text)
	copy(a[:], ip.AsSlice())
	if ip.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

func udp(p *capture.Packet)       { p.Protocol, p.TCPFlags = unix.IPPROTO_UDP, 0 }
func truncated(p *capture.Packet) { p.Transport, p.Ports = false, false }

// cut leaves the ports of the transport header and no more.
func cut(p *capture.Packet) { p.Transport, p.TCPFlags = false, 0 }

// nowhere has extension headers that lead to no protocol.
func nowhere(p *capture.Packet) {
	truncated(p)
	p.NoProtocol, p.Protocol = true, 0
}

func protocol(n uint8) func(*capture.Packet) {
	return func(p *capture.Packet) { p.Protocol = n }
}

func fragment(offset uint16) func(*capture.Packet) {
	return func(p *capture.Packet) { p.FragmentOffset, p.Transport, p.Ports = offset, false, false }
}

func icmp(kind, code uint8) func(*capture.Packet) {
	return func(p *capture.Packet) {
		p.Protocol, p.ICMPType, p.ICMPCode = unix.IPPROTO_ICMP, kind, code
		if p.Family == unix.NFPROTO_IPV6 {
			p.Protocol = unix.IPPROTO_ICMPV6
		}
	}
}

func portsOf(src, dst uint16) func(*capture.Packet) {
	return func(p *capture.Packet) { p.SrcPort, p.DstPort = src, dst }
}

func flags(f uint8) func(*capture.Packet) { return func(p *capture.Packet) { p.TCPFlags = f } }
func ttl(n uint8) func(*capture.Packet)   { return func(p *capture.Packet) { p.TTL = n } }
func mark(m uint32) func(*capture.Packet) { return func(p *capture.Packet) { p.Mark = m } }

func length(n uint32) func(*capture.Packet) {
	return func(p *capture.Packet) { p.Length = n }
}

func devices(in, out string) func(*capture.Packet) {
	return func(p *capture.Packet) { p.In, p.Out = in, out }
}

var (
	v4 = packet("192.0.2.1", "198.51.100.7")
	v6 = packet("2001:db8::1", "2001:db8:7::7")
)

func with(p capture.Packet, change ...func(*capture.Packet)) capture.Packet {
	for _, c := range change {
		c(&p)
	}
	return p
}
