package nfqueue

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

var native = binary.NativeEndian

const (
	headerLen = 16            // struct nlmsghdr
	prefixLen = headerLen + 4 // and struct nfgenmsg

	// The attributes of a packet, enum nfqnl_attr_type. Their values are in network
	// byte order.
	attrPacketHdr  = 1 // struct nfqnl_msg_packet_hdr
	attrVerdictHdr = 2 // struct nfqnl_msg_verdict_hdr
	attrMark       = 3
	attrInDev      = 5
	attrOutDev     = 6
	attrPhysOutDev = 8
	attrPayload    = 10
	attrCapLen     = 13
	attrSkbInfo    = 14
	attrUID        = 16
	attrGID        = 17

	attrTypeMask = 1<<14 - 1 // NLA_TYPE_MASK

	verdictLen = prefixLen + 4 + 8 + 4 + 4 // a verdict with a mark
)

// messageKind is what a message from the kernel is.
type messageKind uint8

const (
	kindPacket    messageKind = iota
	kindTruncated             // a packet whose message is cut: its ID is known, the rest may be missing
	kindMalformed             // none of the others
	kindAck                   // an acknowledgement, as Close waits for, or the refusal of a repeated message
	kindRefused               // the kernel refused a verdict
)

// metadata is what a message says about a packet in the kernel's numbers.
// capture.Packet has names and a decision (hasSocket) in their place.
type metadata struct {
	in, out uint32 // device indexes; 0 is no device
	// physOut is the port by which a bridge forwards the packet (br_netfilter).
	physOut uint32
	info    uint32 // the flags of NFQA_SKB_INFO
}

// parse reads one message, as nfqnl_build_packet_message forms it. It fills p except
// the names of the devices, the headers and Socket. p.Data is a part of msg.
func parse(msg []byte, p *capture.Packet) (m metadata, k messageKind) {
	if len(msg) < headerLen {
		return m, kindMalformed
	}
	switch native.Uint16(msg[4:]) {
	case msgPacket:
	case unix.NLMSG_ERROR:
		return m, parseError(msg)
	default:
		return m, kindMalformed
	}
	size := native.Uint32(msg)
	if size < prefixLen || len(msg) < prefixLen {
		return m, kindMalformed
	}
	k = kindPacket
	if uint64(size) > uint64(len(msg)) {
		k = kindTruncated // MSG_TRUNC
	} else {
		msg = msg[:size]
	}
	*p = capture.Packet{Queue: binary.BigEndian.Uint16(msg[headerLen+2:])}
	identified, whole := attributes(msg[prefixLen:], p, &m)
	switch {
	case !identified:
		return m, kindMalformed
	case !whole:
		return m, kindTruncated
	}
	return m, k
}

// attributes reads a packet's attributes. identified means that the packet's ID is
// known, whole that no attribute was cut. It skips attributes that are unknown or too
// short for their type.
func attributes(b []byte, p *capture.Packet, m *metadata) (identified, whole bool) {
	length := uint32(0)
	for whole = true; len(b) >= 4; {
		size := int(native.Uint16(b))
		if size < 4 || size > len(b) {
			whole = false
			break
		}
		value := b[4:size]
		switch native.Uint16(b[2:]) & attrTypeMask {
		case attrPacketHdr:
			if len(value) >= 7 {
				p.ID = binary.BigEndian.Uint32(value)
				p.Hook = capture.Hook(value[6])
				identified = true
			}
		case attrMark:
			p.Mark = number(value)
		case attrInDev:
			m.in = number(value)
		case attrOutDev:
			m.out = number(value)
		case attrPhysOutDev:
			m.physOut = number(value)
		case attrCapLen:
			length = number(value)
		case attrSkbInfo:
			m.info = number(value)
		case attrUID:
			p.Owned, p.UID = true, number(value)
		case attrGID:
			p.GID = number(value)
		case attrPayload:
			p.Data = value
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	// The kernel adds CAP_LEN only if it cut the payload.
	p.Length = max(length, uint32(len(p.Data)))
	return identified, whole
}

// number reads a 32-bit attribute. A shorter one counts as 0.
func number(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(value)
}

// parseError reads a struct nlmsgerr. Netlink sends one for every message that
// failed, even without NLM_F_ACK (netlink_rcv_skb).
func parseError(msg []byte) messageKind {
	switch {
	case len(msg) < headerLen+4:
		return kindMalformed
	case native.Uint32(msg[headerLen:]) == 0, native.Uint32(msg[8:]) == repeated:
		return kindAck
	}
	return kindRefused
}

// appendVerdict appends the verdict for one packet (NFQNL_MSG_VERDICT:
// nfqnl_recv_verdict), or for all packets up to it (NFQNL_MSG_VERDICT_BATCH:
// nfqnl_recv_verdict_batch), and the mark if a rule has set it.
func appendVerdict(b []byte, typ uint16, p *capture.Packet) []byte {
	size := uint32(verdictLen - 8)
	if p.Marked {
		size = verdictLen
	}
	b = appendHeader(b, size, typ, unix.NLM_F_REQUEST, p.Queue)
	b = appendAttr(b, attrVerdictHdr, 8)
	b = binary.BigEndian.AppendUint32(b, uint32(p.Verdict))
	b = binary.BigEndian.AppendUint32(b, p.ID)
	if p.Marked {
		b = appendAttr(b, attrMark, 4)
		b = binary.BigEndian.AppendUint32(b, p.Mark)
	}
	return b
}

// appendCommand appends a command about a queue that asks for an acknowledgement.
func appendCommand(b []byte, queue uint16, cmd byte) []byte {
	b = appendHeader(b, prefixLen+8, msgConfig, unix.NLM_F_REQUEST|unix.NLM_F_ACK, queue)
	b = appendAttr(b, cfgCmd, 4)
	return append(b, cmd, 0, 0, unix.AF_INET)
}

// repeated is the sequence number of messages that may have been sent before: it is
// no fault that the kernel refuses them. All other messages have 0.
const repeated = 1

// markRepeated gives messages that sequence number.
func markRepeated(all []byte) {
	for b := all; len(b) > 0; b = b[native.Uint32(b):] {
		native.PutUint32(b[8:], repeated)
	}
}

func appendHeader(b []byte, size uint32, typ, flags, queue uint16) []byte {
	return appendGenmsg(appendNlmsg(b, size, typ, flags), queue)
}

// appendNlmsg appends a struct nlmsghdr without sequence number and port id.
func appendNlmsg(b []byte, size uint32, typ, flags uint16) []byte {
	b = native.AppendUint32(b, size)
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, flags)
	return native.AppendUint64(b, 0)
}

// appendGenmsg appends a struct nfgenmsg.
func appendGenmsg(b []byte, queue uint16) []byte {
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(b, queue)
}

func appendAttr(b []byte, typ, payload uint16) []byte {
	b = native.AppendUint16(b, 4+payload)
	return native.AppendUint16(b, typ)
}
