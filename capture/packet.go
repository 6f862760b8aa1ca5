// Package capture holds a packet as rules see it, the verdict they give, and
// the Source that packets come from: a netfilter queue (capture/nfqueue) or a
// capture file (capture/pcap).
package capture

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Hook is where in the kernel a packet was stopped: enum nf_inet_hooks.
type Hook uint8

// The hooks, by the kernel's numbers.
const (
	Prerouting Hook = iota
	Input
	Forward
	Output
	Postrouting
)

// Verdict is what becomes of a packet: the kernel's verdict word of
// include/uapi/linux/netfilter.h, a queue's number in the upper half.
type Verdict uint32

// The verdicts that rules give.
const (
	Drop   Verdict = 0
	Accept Verdict = 1
	Repeat Verdict = 4

	queue Verdict = 3
)

// ToQueue is the verdict that hands a packet over to another queue.
func ToQueue(number uint16) Verdict { return Verdict(number)<<16 | queue }

// Queue is the number that ToQueue was given; ok is false for other verdicts.
func (v Verdict) Queue() (number uint16, ok bool) {
	return uint16(v >> 16), v&0xffff == queue
}

// Packet is one packet on its way: where it is, its decoded headers, and the
// verdict. A source reuses its packets: nothing of one outlives the call that
// it was handed to.
type Packet struct {
	Time    time.Time // when it was captured; zero from a live queue
	Queue   uint16    // the NFQUEUE number that it came by
	Hook    Hook
	In, Out string // the devices' names; empty where there is none
	// Socket says that the packet belongs to a socket of this machine, as far
	// as the kernel tells: the skb->sk of recent_mt.
	Socket bool
	Length uint32 // bytes on the wire from the network header on, skb->len
	Data   []byte // from the network header on, perhaps cut short

	Header

	Mark uint32 // the firewall mark, as it came or as a rule has set it
	// Marked is set by the rule that changes Mark.
	Marked  bool
	Verdict Verdict
}

// Leaving says that the packet goes out by a device and has no socket here:
// its ttl was already lowered by forwarding (recent_mt: "use TTL as seen
// before forwarding").
func (p *Packet) Leaving() bool { return p.Out != "" && !p.Socket }

// Header is what the rules can ask of a packet's headers. Decode fills it.
type Header struct {
	// Family is unix.NFPROTO_IPV4 or unix.NFPROTO_IPV6; 0 means that the
	// network header could not be decoded and nothing else here holds.
	Family uint8
	TTL    uint8 // IPv4 time to live, IPv6 hop limit
	// Protocol is the transport protocol, behind any IPv6 extension headers.
	Protocol uint8
	// NoProtocol says that an IPv6 packet's extension headers lead to none:
	// they are cut short, or a fragment behind the first goes on with one.
	// Protocol is 0 then. A rule that asks for a protocol drops such a packet
	// (the hotdrop of ip6_packet_match).
	NoProtocol bool
	// FragmentOffset is in units of 8 bytes; only in the fragment with offset
	// 0 is there a transport header.
	FragmentOffset uint16
	// Src and Dst hold an IPv4 address in their first four bytes, the rest
	// being zero: the kernel's union nf_inet_addr.
	Src, Dst [16]byte
	// Transport says that this packet carries the whole fixed part of its
	// TCP, UDP, UDP-Lite, SCTP, DCCP, ICMP or ICMPv6 header, so that the
	// fields below hold.
	Transport bool
	// Ports says that SrcPort and DstPort hold even where Transport is false:
	// the first four bytes of a header that has them are there, and
	// multiport_mt reads no more.
	Ports              bool
	SrcPort, DstPort   uint16
	TCPFlags           uint8 // the 14th byte of a TCP header: FIN is bit 0
	ICMPType, ICMPCode uint8
}

// Source hands packets to decide until it is closed or has no more. Each
// packet's Verdict is carried out when decide returns; its Mark too, where
// Marked is set.
type Source interface {
	// Run returns nil when Close ended it or a capture file is at its end.
	Run(decide func(batch []Packet)) error
	// Close ends Run and releases the source; it may be called at any time.
	Close() error
}

// Addr is one of the header's addresses for printing.
func (h *Header) Addr(a *[16]byte) netip.Addr {
	if h.Family == unix.NFPROTO_IPV4 {
		return netip.AddrFrom4([4]byte(a[:4]))
	}
	return netip.AddrFrom16(*a)
}
