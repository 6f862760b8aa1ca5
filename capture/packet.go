// Package capture has packets as rules see them, and the verdicts that rules give.
// Packets come from a netfilter queue (capture/nfqueue) or from a capture file
// (capture/pcap).
package capture

import (
	"time"
)

// Hook is the place in the kernel where the packet waits (enum nf_inet_hooks).
type Hook uint8

// The hooks, with the kernel's numbers.
const (
	Prerouting Hook = iota
	Input
	Forward
	Output
	Postrouting
)

// Verdict is what the kernel does with a packet: the verdict of
// include/uapi/linux/netfilter.h in the lower half, a queue's number in the upper
// half.
type Verdict uint32

// The verdicts that rules give.
const (
	Drop   Verdict = 0
	Accept Verdict = 1
	Repeat Verdict = 4

	queue  Verdict = 3
	bypass Verdict = 0x8000 // NF_VERDICT_FLAG_QUEUE_BYPASS
)

// ToQueue is the verdict that moves a packet to another queue.
func ToQueue(number uint16) Verdict { return Verdict(number)<<16 | queue }

// Bypass is a verdict of ToQueue that lets the packet go on if no program has bound
// the queue. Without it the kernel drops the packet then.
func (v Verdict) Bypass() Verdict { return v | bypass }

// Queue returns the number in a verdict of ToQueue. ok is false for other verdicts.
func (v Verdict) Queue() (number uint16, ok bool) {
	return uint16(v >> 16), v&0xff == queue // NF_VERDICT_MASK
}

// IsKnown tells whether rules can give the verdict.
func (v Verdict) IsKnown() bool {
	_, ok := v.Queue()
	return v == Drop || v == Accept || v == Repeat || ok
}

// BatchSize is how many packets a source hands over at once, at most.
const BatchSize = 64

// Packet is one packet: where it is, its decoded headers, and its verdict. A source
// reuses its packets, so the receiver must not keep one, or its Data, after the call.
type Packet struct {
	Time    time.Time // when it was captured; zero from a netfilter queue
	Queue   uint16    // the number of the queue it came from
	ID      uint32    // the kernel's number of it in that queue, 1 or more; 0 from a file
	Hook    Hook
	In, Out string // the devices' names; empty without a device
	// Socket means that the packet has a socket of this network namespace, as far
	// as that can be known (recent_mt: skb->sk).
	Socket bool
	// Owned means that a process holds the packet's socket. UID and GID are that
	// process's then, as the first user namespace numbers them.
	Owned    bool
	UID, GID uint32
	Length   uint32 // bytes from the network header on, as sent (skb->len)
	Data     []byte // bytes from the network header on, perhaps cut short

	Header

	Mark uint32 // the firewall mark
	// Marked means that a rule has changed Mark.
	Marked  bool
	Verdict Verdict
}

// Leaving reports whether the packet goes out by a device and has no socket here:
// then forwarding has already lowered its TTL (recent_mt: "use TTL as seen before
// forwarding").
func (p *Packet) Leaving() bool { return p.Out != "" && !p.Socket }

// Header is what rules can match in a packet's headers. Decode fills it.
type Header struct {
	// Family is unix.NFPROTO_IPV4 or unix.NFPROTO_IPV6, or 0 if the network header
	// could not be decoded. All other fields are zero then.
	Family uint8
	TTL    uint8 // IPv4 time to live, IPv6 hop limit
	// Protocol is the transport protocol, after all IPv6 extension headers.
	Protocol uint8
	// NoProtocol means that no protocol follows the extension headers of an IPv6
	// packet: they are cut short, or a later fragment starts inside them. Protocol
	// is 0 then. A rule with a protocol drops such a packet (the hotdrop of
	// ip6_packet_match).
	NoProtocol bool
	// FragmentOffset is in units of 8 bytes. Only the fragment with offset 0 has a
	// transport header.
	FragmentOffset uint16
	// Src and Dst have an IPv4 address in the first four bytes and zeros in the
	// others, as the kernel's union nf_inet_addr.
	Src, Dst [16]byte
	// Transport means that the packet has the whole fixed part of its TCP, UDP,
	// UDP-Lite, SCTP, DCCP, ICMP or ICMPv6 header. The fields below are valid then.
	Transport bool
	// Ports means that SrcPort and DstPort are valid, even if Transport is false: the
	// packet has the first four bytes of the header, and multiport_mt reads no more.
	Ports              bool
	SrcPort, DstPort   uint16
	TCPFlags           uint8  // the 14th byte of a TCP header: FIN is bit 0
	TCPWindow          uint16 // as sent: not scaled
	ICMPType, ICMPCode uint8
}
