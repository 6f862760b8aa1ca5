package capture

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	ipv4Fixed = 20 // struct iphdr without options
	ipv6Fixed = 40 // struct ipv6hdr
)

// Decode fills h from the bytes of a packet, which start with the network header
// and may be cut short anywhere. It reports false and leaves h zero if the kernel
// would refuse the network header. It does not allocate and does not keep data.
//
// It reads the fields that the kernel's matches read, at the same places, and
// accepts what they accept: like them it ignores checksums, options, and lengths in
// the transport header.
func (h *Header) Decode(data []byte) bool {
	*h = Header{}
	if len(data) == 0 {
		return false
	}
	switch data[0] >> 4 {
	case 4:
		return h.ipv4(data)
	case 6:
		return h.ipv6(data)
	}
	return false
}

// ipv4 follows ip_rcv_core: the header is whole and at least 20 bytes long, and the
// total length includes it. Bytes after the total length are padding. A total length
// of 0 means a segment that is too large for the field (iph_totlen).
func (h *Header) ipv4(data []byte) bool {
	if len(data) < ipv4Fixed {
		return false
	}
	head := int(data[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(data[2:]))
	if head < ipv4Fixed || head > len(data) || total != 0 && total < head {
		return false
	}
	if total != 0 && total < len(data) {
		data = data[:total]
	}
	h.Family = unix.NFPROTO_IPV4
	h.TTL = data[8]
	h.Protocol = data[9]
	h.FragmentOffset = binary.BigEndian.Uint16(data[6:]) & 0x1fff // IP_OFFSET
	copy(h.Src[:4], data[12:16])
	copy(h.Dst[:4], data[16:20])
	if h.FragmentOffset == 0 {
		h.transport(data[head:])
	}
	return true
}

// ipv6 follows ip6_rcv_core: the fixed header is whole, and bytes after the payload
// length are padding. A payload length of 0 means a jumbogram, or a segment that is
// too large for the field.
func (h *Header) ipv6(data []byte) bool {
	if len(data) < ipv6Fixed {
		return false
	}
	if end := ipv6Fixed + int(binary.BigEndian.Uint16(data[4:])); end > ipv6Fixed && end < len(data) {
		data = data[:end]
	}
	h.Family = unix.NFPROTO_IPV6
	h.TTL = data[7]
	copy(h.Src[:], data[8:24])
	copy(h.Dst[:], data[24:40])
	h.extensions(data[6], data[ipv6Fixed:])
	return true
}

// extensions walks from the first header after the fixed one to the last one, whose
// protocol ip6tables compares with -p. It follows ipv6_find_hdr with target -1, as
// ip6_packet_match calls it. Each step takes at least 8 bytes.
func (h *Header) extensions(next uint8, data []byte) {
	for extension(next) {
		need := 2 // struct ipv6_opt_hdr
		if next == unix.IPPROTO_ROUTING || next == unix.IPPROTO_FRAGMENT {
			need = 4 // struct ipv6_rt_hdr; up to frag_off of struct frag_hdr
		}
		if len(data) < need {
			h.NoProtocol = true
			return
		}
		size := (int(data[1]) + 1) << 3 // ipv6_optlen
		switch next {
		case unix.IPPROTO_FRAGMENT:
			if offset := binary.BigEndian.Uint16(data[2:]) >> 3; offset != 0 {
				h.laterFragment(data[0], offset)
				return
			}
			size = 8
		case unix.IPPROTO_AH:
			size = (int(data[1]) + 2) << 2 // ipv6_authlen
		}
		next = data[0]
		data = data[min(size, len(data)):]
	}
	h.Protocol = next
	h.transport(data)
}

// laterFragment follows ipv6_find_hdr at a fragment after the first one: its protocol
// is the one in the fragment header, unless that is an extension header.
func (h *Header) laterFragment(next uint8, offset uint16) {
	if extension(next) {
		h.NoProtocol = true
		return
	}
	h.Protocol = next
	h.FragmentOffset = offset
}

// extension reports whether another header follows a header. It is ipv6_ext_hdr
// without NEXTHDR_NONE. ESP ends the walk too.
func extension(next uint8) bool {
	switch next {
	case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT,
		unix.IPPROTO_AH, unix.IPPROTO_DSTOPTS:
		return true
	}
	return false
}

// transport reads the transport header. A match needs the whole fixed part of it
// (skb_header_pointer): tcp_mt 20 bytes, udp_mt 8, sctp_mt and dccp_mt 12, icmp_match
// and icmp6_match 8.
func (h *Header) transport(data []byte) {
	need := 0
	switch h.Protocol {
	case unix.IPPROTO_TCP:
		need = 20
	case unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE:
		need = 8
	case unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		need = 12
	case unix.IPPROTO_ICMP:
		h.icmp(data, unix.NFPROTO_IPV4)
		return
	case unix.IPPROTO_ICMPV6:
		h.icmp(data, unix.NFPROTO_IPV6)
		return
	default:
		return
	}
	if len(data) < 4 {
		return
	}
	h.Ports = true
	h.SrcPort = binary.BigEndian.Uint16(data)
	h.DstPort = binary.BigEndian.Uint16(data[2:])
	h.Transport = len(data) >= need
	if h.Transport && h.Protocol == unix.IPPROTO_TCP {
		h.TCPFlags = data[13]
		h.TCPWindow = binary.BigEndian.Uint16(data[14:])
	}
}

// icmp reads the header of the ICMP that belongs to family. iptables has no icmp
// match for IPv6, and ip6tables no icmp6 match for IPv4.
func (h *Header) icmp(data []byte, family uint8) {
	if h.Family != family || len(data) < 8 {
		return
	}
	h.Transport = true
	h.ICMPType, h.ICMPCode = data[0], data[1]
}
