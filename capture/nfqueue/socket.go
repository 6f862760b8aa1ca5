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

// hasSocket is recent_mt's "skb->sk, and of this network namespace" for a
// packet that goes out by a device, as far as a message tells. p is decoded.
//
// UID is there where the socket belongs to a file, and so not for what the
// kernel sends of itself: there it takes a look at the packet. What cannot be
// told apart is taken for what is more common:
//   - the SYN-ACK of a SYN cookie, which has no socket, from any other;
//   - the RST of a connection that its process has closed, over IPv6, and over
//     IPv4 where a timer resets it, from one that has no socket;
//   - a packet of a socket in another namespace, which a tunnel that spans
//     both has wrapped, from one of a socket in this.
func hasSocket(p *capture.Packet, o *origin) bool {
	switch {
	case o.uid:
		return true
	case p.Hook == capture.Forward:
		return false
	case p.Hook == capture.Output || o.in == 0:
		return o.info&checksumNotVerified == 0 && kernelSocket(p, o.info)
	}
	// ip_output and ip6_output hand over the device that a packet came by, and
	// what is forwarded has no socket. But neighbour discovery and MLD set the
	// device of their own packets early (ndisc_alloc_skb, mld_newpack). No
	// packet with such a hop limit or source has been forwarded (ip6_forward).
	return p.Family == unix.NFPROTO_IPV6 && o.info&checksumNotVerified == 0 &&
		(p.TTL == 255 || linkLocal(&p.Src) || p.Src == [16]byte{})
}

// kernelSocket tells whether a packet that began here, and whose socket no
// process holds, has one all the same.
//
// At POST_ROUTING the kernel says "checksum not verified" of packets without a
// socket only (csum_verify of nfqnl_build_packet_message), and it says so
// unless the checksum is left to the device.
func kernelSocket(p *capture.Packet, info uint32) bool {
	switch p.Protocol {
	case unix.IPPROTO_IGMP: // igmpv3_newpack and igmp_send_report take none
		return false
	case unix.IPPROTO_UDP:
		// A process's datagram has a UID. Its copy for this machine's own
		// listeners has lost the socket (skb_clone in ip_mc_output and
		// ip6_finish_output2), and what a tunnel wraps comes without.
		return false
	case unix.IPPROTO_TCP:
		if !p.Transport || p.TCPFlags&tcpRST == 0 {
			break
		}
		// Over IPv4 what resets has a socket of the kernel's own, and a checksum
		// (ip_send_unicast_reply); REJECT has neither (nf_send_reset). Over IPv6
		// it has a socket only where the connection has (tcp_v6_send_response).
		return p.Family == unix.NFPROTO_IPV4 && info&checksumNotReady == 0
	}
	return true // icmp_send and icmp6_send have their own; SYN-ACK; FIN
}

const tcpRST = 1 << 2 // in the TCP header's flags

func linkLocal(a *[16]byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }
