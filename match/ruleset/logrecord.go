package ruleset

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/addr"
)

// logBytes is how much of a packet a record keeps: as much as a queue hands over.
const logBytes = 256

// logFlags is the logflags of struct xt_log_info.
type logFlags uint8

const (
	logTCPSequence logFlags = 1 << iota // XT_LOG_TCPSEQ
	logTCPOptions                       // XT_LOG_TCPOPT
	logIPOptions                        // XT_LOG_IPOPT
	logUID                              // XT_LOG_UID
)

// LogRecord is a packet that met a LOG rule. It is a copy, so that the packet's
// memory can be used again before the record is printed.
type LogRecord struct {
	Level  uint8 // of syslog: 0 is an emergency, 7 debugging
	flags  logFlags
	family uint8
	owned  bool   // uid and gid are valid
	prefix string // the rule's --log-prefix, or empty

	uid, gid, mark uint32
	length         uint32              // bytes, from the network header on
	in, out        [unix.IFNAMSIZ]byte // device names, up to a NUL
	size           uint16              // how many bytes of data are valid
	data           [logBytes]byte      // from the network header on
}

// newLogRecord copies what the line needs. It does not allocate.
func newLogRecord(t *logTarget, p *capture.Packet) LogRecord {
	r := LogRecord{
		Level: t.level, flags: t.flags, family: p.Family, prefix: t.prefix,
		owned: p.Owned, uid: p.UID, gid: p.GID, mark: p.Mark, length: p.Length,
	}
	copy(r.in[:], p.In)
	copy(r.out[:], p.Out)
	r.size = uint16(copy(r.data[:], p.Data))
	return r
}

// String is the line that the kernel logs: nf_log_ip_packet and nf_log_ip6_packet
// of net/netfilter/nf_log_syslog.c, with their space at the end. MAC= is empty, as
// for a device without a link header, because a queue does not hand that header
// over. Names of bridge ports (PHYSIN=, PHYSOUT=) are unknown too.
func (r LogRecord) String() string {
	d := logDump{LogRecord: &r}
	in := until0(r.in[:])
	d.add("%sIN=%s OUT=%s ", r.prefix, in, until0(r.out[:]))
	if len(in) > 0 {
		d.add("MAC= ") // dump_mac_header
	}
	if r.family == unix.NFPROTO_IPV4 {
		d.ipv4(0)
	} else {
		d.ipv6(0)
	}
	return string(d.text)
}

func until0(name []byte) []byte {
	name, _, _ = bytes.Cut(name, []byte{0})
	return name
}

// logDump is a line in the making: struct nf_log_buf.
type logDump struct {
	*LogRecord
	text []byte
}

// add follows nf_log_buf_add.
func (d *logDump) add(format string, args ...any) { d.text = fmt.Appendf(d.text, format, args...) }

// header is skb_header_pointer: n bytes of the packet at an offset, or nil if they
// are not all there.
func (d *logDump) header(offset uint32, n int) []byte {
	if uint64(offset)+uint64(n) > uint64(d.size) {
		return nil
	}
	return d.data[offset : int(offset)+n]
}

// incomplete says how many bytes the packet has from an offset on.
func (d *logDump) incomplete(offset uint32) { d.add("INCOMPLETE [%d bytes] ", d.length-offset) }

// owner follows nf_log_dump_sk_uid_gid.
func (d *logDump) owner() {
	if d.flags&logUID != 0 && d.owned {
		d.add("UID=%d GID=%d ", d.uid, d.gid)
	}
}

func (d *logDump) markOf() {
	if d.mark != 0 {
		d.add("MARK=0x%x ", d.mark)
	}
}

// logTCPFlags is the order of nf_log_dump_tcp_header, after AE.
var logTCPFlags = [...]string{"CWR ", "ECE ", "URG ", "ACK ", "PSH ", "RST ", "SYN ", "FIN "}

// tcp follows nf_log_dump_tcp_header. It reports false if the line ends here.
func (d *logDump) tcp(later bool, offset uint32) bool {
	d.add("PROTO=TCP ")
	if later {
		return true
	}
	h := d.header(offset, 20)
	if h == nil {
		d.incomplete(offset)
		return false
	}
	d.add("SPT=%d DPT=%d ", be16(h), be16(h[2:]))
	if d.flags&logTCPSequence != 0 {
		d.add("SEQ=%d ACK=%d ", be32(h[4:]), be32(h[8:]))
	}
	d.add("WINDOW=%d RES=0x%02x ", be16(h[14:]), h[12]&0x0e<<2)
	if h[12]&1 != 0 {
		d.add("AE ")
	}
	for i, name := range logTCPFlags {
		if h[13]&(0x80>>i) != 0 {
			d.add("%s", name)
		}
	}
	d.add("URGP=%d ", be16(h[18:]))
	if options := int(h[12]>>4)*4 - 20; d.flags&logTCPOptions != 0 && options > 0 {
		o := d.header(offset+20, options)
		if o == nil {
			d.add("OPT (TRUNCATED)")
			return false
		}
		d.add("OPT (%X) ", o)
	}
	return true
}

// udp follows nf_log_dump_udp_header. It reports false if the line ends here.
func (d *logDump) udp(name string, later bool, offset uint32) bool {
	d.add("PROTO=%s ", name)
	if later {
		return true
	}
	h := d.header(offset, 8)
	if h == nil {
		d.incomplete(offset)
		return false
	}
	d.add("SPT=%d DPT=%d LEN=%d ", be16(h), be16(h[2:]), be16(h[4:]))
	return true
}

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// appendIPv4 prints the address that b begins with.
func appendIPv4(text, b []byte) []byte {
	var a [16]byte
	copy(a[:4], b)
	return addr.AppendPI4(text, addr.Load(&a))
}

// appendIPv6 prints the address that b begins with.
func appendIPv6(text, b []byte) []byte {
	return addr.AppendPI6(text, addr.Load((*[16]byte)(b)))
}
