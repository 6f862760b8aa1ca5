package ruleset

import "golang.org/x/sys/unix"

// ipv6 follows dump_ipv6_packet. An error message of ICMPv6 has the header of
// another packet in it, which begins at an offset other than 0.
func (d *logDump) ipv6(at uint32) {
	h := d.header(at, 40)
	if h == nil {
		d.add("TRUNCATED")
		return
	}
	d.text = appendIPv6(append(d.text, "SRC="...), h[8:])
	d.text = appendIPv6(append(d.text, " DST="...), h[24:])
	length := uint32(be16(h[4:])) + 40
	if length == 40 && at == 0 {
		length = d.length // a segment that is too large for the field: ipv6_payload_len
	}
	flow := be32(h)
	d.add(" LEN=%d TC=%d HOPLIMIT=%d FLOWLBL=%d ", length, flow>>20&0xff, h[7], flow&0xfffff)
	next, offset := h[6], at+40
	later, ok := d.extensions(&next, &offset)
	if ok && d.transport6(next, later, at, offset) && at == 0 {
		d.owner()
		d.markOf()
	}
}

// extensions logs the headers up to the transport header, and takes next and offset
// there. later means a fragment after the first one. It reports false if the line
// ends here.
func (d *logDump) extensions(next *uint8, offset *uint32) (later, ok bool) {
	options := d.flags&logIPOptions != 0
	for logsExtension(*next) {
		h := d.header(*offset, 2) // struct ipv6_opt_hdr
		if h == nil {
			d.add("TRUNCATED")
			return later, false
		}
		if options {
			d.add("OPT ( ")
		}
		size := (uint32(h[1]) + 1) << 3 // ipv6_optlen
		switch *next {
		case unix.IPPROTO_FRAGMENT:
			size = 8
			if later, ok = d.fragment(later, *offset); !ok {
				return later, false
			}
		case unix.IPPROTO_AH:
			size = (uint32(h[1]) + 2) << 2 // ipv6_authlen
			if options && !d.security("AH ", later, *offset, 12, 4) {
				return later, false
			}
		case unix.IPPROTO_ESP:
			if options && d.security("ESP ", later, *offset, 8, 0) {
				d.add(")")
			}
			return later, false
		default:
			if later {
				if options {
					d.add(")")
				}
				return later, false
			}
		}
		if options {
			d.add(") ")
		}
		*next = h[0]
		*offset += size
	}
	return later, true
}

// logsExtension is nf_ip6_ext_hdr without NEXTHDR_NONE.
func logsExtension(next uint8) bool {
	switch next {
	case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT,
		unix.IPPROTO_ESP, unix.IPPROTO_AH, unix.IPPROTO_DSTOPTS:
		return true
	}
	return false
}

// fragment logs a fragment header. later means that a header before it said so.
func (d *logDump) fragment(later bool, offset uint32) (isLater, ok bool) {
	d.add("FRAG:")
	h := d.header(offset, 8)
	if h == nil {
		d.add("TRUNCATED ")
		return later, false
	}
	field := be16(h[2:])
	d.add("%d ", field&0xfff8)
	if field&1 != 0 {
		d.add("INCOMPLETE ")
	}
	d.add("ID:%08x ", be32(h[4:]))
	return later || field&0xfff8 != 0, true
}

// security logs the SPI of a header of AH or ESP. It reports false if the line ends
// here.
func (d *logDump) security(name string, later bool, offset uint32, size, at int) bool {
	d.add("%s", name)
	if later {
		d.add(")")
		return false
	}
	h := d.header(offset, size)
	if h == nil {
		d.add("INCOMPLETE [%d bytes] )", d.length-offset)
		return false
	}
	d.add("SPI=0x%x ", be32(h[at:]))
	return true
}

// transport6 reports false if the line ends here.
func (d *logDump) transport6(protocol uint8, later bool, at, offset uint32) bool {
	switch protocol {
	case unix.IPPROTO_TCP:
		return d.tcp(later, offset)
	case unix.IPPROTO_UDP:
		return d.udp("UDP", later, offset)
	case unix.IPPROTO_UDPLITE:
		return d.udp("UDPLITE", later, offset)
	case unix.IPPROTO_ICMPV6:
		d.add("PROTO=ICMPv6 ")
		return later || d.icmp6(at, offset)
	}
	d.add("PROTO=%d ", protocol)
	return true
}

// The types of ICMPv6 whose fields are logged.
const (
	icmp6Unreachable  = 1
	icmp6TooBig       = 2
	icmp6TimeExceeded = 3
	icmp6Parameter    = 4
	icmp6Echo         = 128
	icmp6EchoReply    = 129
)

// icmp6 reports false if the line ends here.
func (d *logDump) icmp6(at, offset uint32) bool {
	h := d.header(offset, 8)
	if h == nil {
		d.incomplete(offset)
		return false
	}
	kind := h[0]
	d.add("TYPE=%d CODE=%d ", kind, h[1])
	switch kind {
	case icmp6Echo, icmp6EchoReply:
		d.add("ID=%d SEQ=%d ", be16(h[4:]), be16(h[6:]))
	case icmp6Parameter, icmp6Unreachable, icmp6TooBig, icmp6TimeExceeded:
		if kind == icmp6Parameter {
			d.add("POINTER=%08x ", be32(h[4:]))
		}
		if at == 0 {
			d.add("[")
			d.ipv6(offset + 8)
			d.add("] ")
		}
		if kind == icmp6TooBig {
			d.add("MTU=%d ", be32(h[4:]))
		}
	}
	return true
}
