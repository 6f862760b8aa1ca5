package ruleset

import "golang.org/x/sys/unix"

// ipv4 follows dump_ipv4_packet. An error message of ICMP has the header of another
// packet in it, which begins at an offset other than 0.
func (d *logDump) ipv4(at uint32) {
	h := d.header(at, 20)
	if h == nil {
		d.add("TRUNCATED")
		return
	}
	d.text = appendIPv4(append(d.text, "SRC="...), h[12:])
	d.text = appendIPv4(append(d.text, " DST="...), h[16:])
	total := uint32(be16(h[2:]))
	if total == 0 && at == 0 {
		total = d.length // a segment that is too large for the field: iph_totlen
	}
	d.add(" LEN=%d TOS=0x%02X PREC=0x%02X TTL=%d ID=%d ", total, h[1]&0x1e, h[1]&0xe0, h[8], be16(h[4:]))
	fragment := be16(h[6:])
	for i, name := range [...]string{"CE ", "DF ", "MF "} {
		if fragment&(0x8000>>i) != 0 {
			d.add("%s", name)
		}
	}
	offset := fragment & 0x1fff // IP_OFFSET
	if offset != 0 {
		d.add("FRAG:%d ", offset)
	}
	size := uint32(h[0]&0x0f) * 4
	if d.flags&logIPOptions != 0 && size > 20 {
		o := d.header(at+20, int(size)-20)
		if o == nil {
			d.add("TRUNCATED")
			return
		}
		d.add("OPT (%X) ", o)
	}
	if d.transport4(h[9], offset != 0, at, at+size) && at == 0 {
		d.owner()
		d.markOf()
	}
}

// transport4 reports false if the line ends here.
func (d *logDump) transport4(protocol uint8, later bool, at, offset uint32) bool {
	switch protocol {
	case unix.IPPROTO_TCP:
		return d.tcp(later, offset)
	case unix.IPPROTO_UDP:
		return d.udp("UDP", later, offset)
	case unix.IPPROTO_UDPLITE:
		return d.udp("UDPLITE", later, offset)
	case unix.IPPROTO_ICMP:
		d.add("PROTO=ICMP ")
		if !later {
			d.icmp(at, offset)
		}
	case unix.IPPROTO_AH:
		if !later {
			d.add("PROTO=AH ")
			d.spi(offset, 12, 4)
		}
	case unix.IPPROTO_ESP:
		d.add("PROTO=ESP ")
		if !later {
			d.spi(offset, 8, 0)
		}
	default:
		d.add("PROTO=%d ", protocol)
	}
	return true
}

// spi logs the SPI of a header of AH or ESP of some bytes.
func (d *logDump) spi(offset uint32, size, at int) {
	h := d.header(offset, size)
	if h == nil {
		d.incomplete(offset)
		return
	}
	d.add("SPI=0x%x ", be32(h[at:]))
}

// icmpTypes are the types of ICMP whose fields are logged.
const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpSourceQuench = 4
	icmpRedirect     = 5
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12

	icmpFragNeeded = 4 // a code of icmpUnreachable
)

// icmpSizes are how long messages are at least, by type: required_len.
var icmpSizes = map[uint8]uint32{
	icmpEchoReply: 4, icmpUnreachable: 28, icmpSourceQuench: 28, icmpRedirect: 28, icmpEcho: 4,
	icmpTimeExceeded: 28, icmpParameter: 28,
	13: 20, 14: 20, // timestamp, and its reply
	17: 12, 18: 12, // address mask, and its reply
}

func (d *logDump) icmp(at, offset uint32) {
	h := d.header(offset, 8)
	if h == nil {
		d.incomplete(offset)
		return
	}
	kind, code := h[0], h[1]
	d.add("TYPE=%d CODE=%d ", kind, code)
	if d.length-offset < icmpSizes[kind] {
		d.incomplete(offset)
		return
	}
	switch kind {
	case icmpEchoReply, icmpEcho:
		d.add("ID=%d SEQ=%d ", be16(h[4:]), be16(h[6:]))
	case icmpParameter:
		d.add("PARAMETER=%d ", h[4])
	case icmpRedirect, icmpUnreachable, icmpSourceQuench, icmpTimeExceeded:
		if kind == icmpRedirect {
			d.text = append(appendIPv4(append(d.text, "GATEWAY="...), h[4:]), ' ')
		}
		if at == 0 {
			d.add("[")
			d.ipv4(offset + 8)
			d.add("] ")
		}
		if kind == icmpUnreachable && code == icmpFragNeeded {
			d.add("MTU=%d ", be16(h[6:]))
		}
	}
}
