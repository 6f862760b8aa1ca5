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
//   - SYNPROXY's segments to the server and, at OUTPUT, the copies of TEE have no
//     socket. Those of the kernel's own connections (MPTCP, NFS) have one.
//   - A packet of a tunnel has the socket of the packet in it, perhaps one of the
//     kernel. It looks like one around a forwarded packet, which has none.
//   - A forwarded packet has no socket. Before Linux 5.7 it has no device that it came
//     by either, at POST_ROUTING (ip_output), and then looks like one of this machine.
//   - Over IPv6 the RST that answers a segment has a socket if there was still a
//     connection. It looks like one without.
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
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		return true // icmp_send, icmp6_send, sctp_packet_transmit
	case unix.IPPROTO_TCP:
		switch {
		case !p.Transport:
			return true
		case p.TCPFlags&tcpRST != 0:
			// A connection that resets the other side names its window, as in all its
			// segments (tcp_send_active_reset). An answer to a segment has the window 0.
			//
			// Over IPv4 such an answer has a socket of the kernel and a checksum
			// (ip_send_unicast_reply), but a reset of REJECT has neither (nf_send_reset).
			// Over IPv6 it has a socket only if the connection has one
			// (tcp_v6_send_response).
			return p.TCPWindow != 0 || p.Family == unix.NFPROTO_IPV4 && info&checksumNotReady == 0
		case p.TCPFlags&tcpSYN != 0:
			return p.TCPWindow != 0 // 0: synproxy_send_client_synack uses no socket
		}
		return true // a FIN, or the rest of what a process has left
	}
	// A process's datagram has NFQA_UID. Its copy for listeners on this machine has
	// lost the socket (skb_clone in ip_mc_output and ip6_finish_output2). The packets
	// of a tunnel (UDP, GRE, ESP, ...) have the socket of the packet in them, and none
	// if that was forwarded. igmpv3_newpack and igmp_send_report use no socket.
	return false
}

// Of the TCP header's flags.
const (
	tcpSYN = 1 << 1
	tcpRST = 1 << 2
)

func linkLocal(a *[16]byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }
