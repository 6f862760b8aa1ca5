package nfqueue

import (
	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// Flags of NFQA_SKB_INFO (nfqnl_put_packet_info).
const (
	checksumNotReady    = 1 << 0 // CHECKSUM_PARTIAL: left to the device
	checksumNotVerified = 1 << 2
)

// hasSocket reports whether a packet that goes out by a device has a socket of this
// network namespace: recent_mt's test of skb->sk, as far as a message allows it. p is
// decoded.
//
// A message has NFQA_UID if the socket belongs to a file. The sockets of the kernel
// itself do not: for those hasSocket looks at the packet. It cannot tell some packets
// apart, and takes each for the more common kind:
//   - The SYN-ACK of a SYN cookie has no socket, other SYN-ACKs have one.
//   - The RST of a connection that its process has closed has a socket. Over IPv6,
//     and over IPv4 if a timer resets the connection, it looks like one without.
//   - A packet from a socket of another namespace, in a tunnel that spans both, has
//     no socket of this one.
func hasSocket(p *capture.Packet, m *metadata) bool {
	switch {
	case m.physOut != 0:
		// A bridge forwards it. At POST_ROUTING it has no other device that it came by
		// (br_nf_post_routing). A packet that this machine sends by a bridge has no port
		// there.
		return false
	case p.Owned:
		return true
	case p.Hook == capture.Forward:
		return false
	case p.Hook == capture.Output || m.in == 0:
		return m.info&checksumNotVerified == 0 && kernelSocket(p, m.info)
	}
	// The packet has a device that it came by (ip_output and ip6_output pass it on):
	// so it was forwarded and has no socket. But neighbour discovery and MLD set this
	// device in packets of their own (ndisc_alloc_skb, mld_newpack). Their hop limits
	// and sources show it: ip6_forward forwards no such packet.
	return p.Family == unix.NFPROTO_IPV6 && m.info&checksumNotVerified == 0 &&
		(p.TTL == 255 || linkLocal(&p.Src) || p.Src == [16]byte{})
}

// kernelSocket reports whether a packet that this machine sends has a socket that no
// process holds.
//
// At POST_ROUTING the kernel sets "checksum not verified" only for packets without a
// socket (csum_verify in nfqnl_build_packet_message), and not if the device computes
// the checksum.
func kernelSocket(p *capture.Packet, info uint32) bool {
	switch p.Protocol {
	case unix.IPPROTO_IGMP: // igmpv3_newpack and igmp_send_report use no socket
		return false
	case unix.IPPROTO_UDP:
		// A process's datagram has NFQA_UID. Its copy for listeners on this machine
		// has lost the socket (skb_clone in ip_mc_output and ip6_finish_output2),
		// and the packets of a tunnel have none.
		return false
	case unix.IPPROTO_TCP:
		if !p.Transport || p.TCPFlags&tcpRST == 0 {
			break
		}
		// Over IPv4 a reset has a socket of the kernel and a checksum
		// (ip_send_unicast_reply), but a reset of REJECT has neither (nf_send_reset).
		// Over IPv6 it has a socket only if the connection has one
		// (tcp_v6_send_response).
		return p.Family == unix.NFPROTO_IPV4 && info&checksumNotReady == 0
	}
	return true // ICMP (icmp_send, icmp6_send), a SYN-ACK, a FIN
}

const tcpRST = 1 << 2 // of the TCP header's flags

func linkLocal(a *[16]byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }
