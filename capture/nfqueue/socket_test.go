package nfqueue

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// TestHasSocket holds what Linux 6.18 with its own xt_recent did: whether recent_mt
// added 1 to the TTL of such a packet.
func TestHasSocket(t *testing.T) {
	const in, out = 2, 3
	v4 := func(protocol, flags, ttl uint8) capture.Header {
		return capture.Header{Family: unix.NFPROTO_IPV4, Protocol: protocol, TTL: ttl, Transport: true, TCPFlags: flags}
	}
	v6 := func(protocol, flags, ttl uint8, src string) capture.Header {
		return capture.Header{Family: unix.NFPROTO_IPV6, Protocol: protocol, TTL: ttl, Transport: true, TCPFlags: flags,
			Src: netip.MustParseAddr(src).As16()}
	}
	const (
		tcp, udp, icmp, igmp, icmp6 = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_IGMP, unix.IPPROTO_ICMPV6

		rst, rstAck, synAck = tcpRST, tcpRST | 0x10, 0x12
	)
	windowed := func(h capture.Header) capture.Header { h.TCPWindow = 64240; return h }
	for _, c := range []struct {
		name     string
		hooks    []capture.Hook
		header   capture.Header
		metadata metadata
		want     bool
	}{
		{"forwarded", passing, v4(udp, 0, 63), metadata{in: in, out: out, info: checksumNotReady}, false},
		{"forwarded, checksum unknown", passing, v6(udp, 0, 63, "fd09::2"), metadata{in: in, out: out, info: checksumNotVerified}, false},
		{"forwarded to where it came from", passing, v6(udp, 0, 63, "fd09::2"), metadata{in: in, out: in}, false},
		{"forwarded ping", passing, v4(icmp, 0, 63), metadata{in: in, out: out}, false},
		{"forwarded ping, IPv6", passing, v6(icmp6, 0, 63, "fd09::2"), metadata{in: in, out: out}, false},
		{"forwarded SYN-ACK", passing, windowed(v4(tcp, synAck, 63)), metadata{in: in, out: out}, false},
		{"forwarded RST", passing, v4(tcp, rst, 63), metadata{in: in, out: out}, false},
		{"forwarded FIN, IPv6", passing, v6(tcp, 0x11, 63, "fd09::2"), metadata{in: in, out: out}, false},
		{"forwarded SCTP", passing, v4(unix.IPPROTO_SCTP, 0, 63), metadata{in: in, out: out}, false},
		// At POSTROUTING it looks like MLD. ip6_forward drops what has a socket.
		{"forwarded from a link-local address to where it came from", []capture.Hook{capture.Forward}, v6(udp, 0, 63, "fe80::2"), metadata{in: in, out: in}, false},
		{"forwarded to a group, ipmr_queue_xmit", []capture.Hook{capture.Postrouting}, v4(igmp, 0, 63), metadata{out: out, info: checksumNotVerified}, false},
		{"bridged", passing, windowed(v4(tcp, synAck, 64)), metadata{out: out, physOut: in, info: checksumNotReady}, false},
		{"bridged, IPv6", passing, v6(icmp6, 0, 255, "fe80::1"), metadata{out: out, physOut: in}, false},
		{"ICMP error", leaving, v4(icmp, 0, 64), metadata{out: out}, true},
		{"ICMPv6 echo reply", leaving, v6(icmp6, 0, 64, "fd09::1"), metadata{out: out}, true},
		{"SYN-ACK", leaving, windowed(v4(tcp, synAck, 64)), metadata{out: out, info: checksumNotReady}, true},
		{"SYN-ACK of SYNPROXY", leaving, v4(tcp, synAck, 64), metadata{out: out, info: checksumNotReady}, false},
		{"SYN of MPTCP", leaving, windowed(v4(tcp, tcpSYN, 64)), metadata{out: out, info: checksumNotReady}, true},
		{"RST of a listener that closes", leaving, windowed(v4(tcp, rstAck, 64)), metadata{out: out, info: checksumNotReady}, true},
		{"RST of a listener that closes, IPv6", leaving, windowed(v6(tcp, rstAck, 64, "fd09::1")), metadata{out: out, info: checksumNotReady}, true},
		{"ABORT of SCTP", leaving, v4(unix.IPPROTO_SCTP, 0, 64), metadata{out: out, info: checksumNotReady}, true},
		{"tunnel", leaving, v4(unix.IPPROTO_GRE, 0, 64), metadata{out: out}, false},
		{"tunnel", leaving, v6(unix.IPPROTO_ESP, 0, 64, "fd09::1"), metadata{out: out}, false},
		{"FIN of an orphan", leaving, v6(tcp, 0x11, 64, "fd09::1"), metadata{out: out, info: checksumNotReady}, true},
		{"RST of a closed port", leaving, v4(tcp, rstAck, 64), metadata{out: out}, true},
		{"RST of a closed port, IPv6", leaving, v6(tcp, rstAck, 64, "fd09::1"), metadata{out: out, info: checksumNotReady}, false},
		{"RST of no connection", leaving, v4(tcp, rst, 64), metadata{out: out}, true},
		{"RST of no connection, IPv6", leaving, v6(tcp, rst, 64, "fd09::1"), metadata{out: out, info: checksumNotReady}, false},
		{"REJECT by RST", leaving, v4(tcp, rstAck, 64), metadata{out: out, info: checksumNotReady}, false},
		{"REJECT by RST, IPv6", []capture.Hook{capture.Output}, v6(tcp, rstAck, 64, "fd09::1"), metadata{out: out}, false},
		{"REJECT by RST, IPv6", []capture.Hook{capture.Postrouting}, v6(tcp, rstAck, 64, "fd09::1"), metadata{out: out, info: checksumNotVerified}, false},
		{"IGMP report", []capture.Hook{capture.Output}, v4(igmp, 0, 1), metadata{out: out}, false},
		{"IGMP report", []capture.Hook{capture.Postrouting}, v4(igmp, 0, 1), metadata{in: out, out: out, info: checksumNotVerified}, false},
		{"MLD report", []capture.Hook{capture.Output}, v6(icmp6, 0, 1, "fe80::1"), metadata{out: out}, true},
		{"MLD report", []capture.Hook{capture.Postrouting}, v6(icmp6, 0, 1, "fe80::1"), metadata{in: out, out: out}, true},
		{"MLD report without an address yet", []capture.Hook{capture.Postrouting}, v6(icmp6, 0, 1, "::"), metadata{in: out, out: out}, true},
		{"neighbour solicitation", []capture.Hook{capture.Postrouting}, v6(icmp6, 0, 255, "fd09::1"), metadata{in: out, out: out}, true},
		{"multicast, the copy for listeners here", []capture.Hook{capture.Postrouting}, v6(udp, 0, 1, "fd09::1"), metadata{out: out, info: checksumNotReady}, false},
	} {
		for _, hook := range c.hooks {
			p := capture.Packet{Hook: hook, Header: c.header}
			if got := hasSocket(&p, &c.metadata); got != c.want {
				t.Errorf("%s at hook %d: %v, want %v", c.name, hook, got, c.want)
			}
			p.Owned = true
			if c.metadata.physOut == 0 && !hasSocket(&p, &c.metadata) {
				t.Errorf("%s at hook %d, with a process: no socket", c.name, hook)
			}
		}
	}
}

// leaving are the hooks of packets that this machine sends, passing those of packets
// that it forwards.
var (
	leaving = []capture.Hook{capture.Output, capture.Postrouting}
	passing = []capture.Hook{capture.Forward, capture.Postrouting}
)
