package nfqueue

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// attr is one attribute of a message in a test.
type attr struct {
	typ   uint16
	value []byte
}

func packetHdr(id uint32, hook capture.Hook) attr {
	return attr{attrPacketHdr, append(be32(id), 0x08, 0x00, byte(hook))}
}

// syn is an IPv4 TCP SYN from 192.0.2.7:40000 to 192.0.2.1:22.
var syn = []byte{
	0x45, 0, 0, 40, 0, 1, 0x40, 0, 61, 6, 0, 0, 192, 0, 2, 7, 192, 0, 2, 1,
	0x9c, 0x40, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0,
}

// packetMessage forms a message as nfqnl_build_packet_message does.
func packetMessage(attrs ...attr) []byte {
	b := appendHeader(nil, 0, msgPacket, 0, 5)
	for _, a := range attrs {
		b = appendAttr(b, a.typ, uint16(len(a.value)))
		b = append(b, a.value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	native.PutUint32(b, uint32(len(b)))
	return b
}

// errorMessage forms a struct nlmsgerr.
func errorMessage(errno int32) []byte {
	b := appendHeader(nil, headerLen+4, unix.NLMSG_ERROR, 0, 0)[:headerLen]
	return native.AppendUint32(b, uint32(errno))
}

func alter(b []byte, f func([]byte) []byte) []byte { return f(slices.Clone(b)) }

var wholeMessage = packetMessage(
	packetHdr(77, capture.Forward), attr{attrInDev, be32(3)}, attr{attrOutDev, be32(4)},
	attr{attrMark, be32(0x1234)}, attr{9, make([]byte, 12)}, attr{attrCapLen, be32(1500)}, attr{attrPayload, syn})

func TestParse(t *testing.T) {
	payload := attr{attrPayload, syn}
	for _, c := range []struct {
		name     string
		msg      []byte
		kind     messageKind
		metadata metadata
		want     capture.Packet // without Data
		data     []byte
	}{
		{"whole", wholeMessage, kindPacket, metadata{in: 3, out: 4},
			capture.Packet{Queue: 5, ID: 77, Hook: capture.Forward, Mark: 0x1234, Length: 1500}, syn},
		{"arriving", packetMessage(packetHdr(1, capture.Input), attr{attrInDev, be32(3)}, payload), kindPacket, metadata{in: 3},
			capture.Packet{Queue: 5, ID: 1, Hook: capture.Input, Length: 40}, syn},
		{"with the owner of a socket", packetMessage(packetHdr(1, capture.Output), attr{attrOutDev, be32(4)}, attr{attrUID, be32(1000)}, attr{attrGID, be32(100)}, attr{attrSkbInfo, be32(1)}, payload), kindPacket,
			metadata{out: 4, info: checksumNotReady}, capture.Packet{Queue: 5, ID: 1, Hook: capture.Output, Length: 40, Owned: true, UID: 1000, GID: 100}, syn},
		{"bridged", packetMessage(packetHdr(1, capture.Postrouting), attr{attrOutDev, be32(4)}, attr{attrPhysOutDev, be32(5)}, payload), kindPacket,
			metadata{out: 4, physOut: 5}, capture.Packet{Queue: 5, ID: 1, Hook: capture.Postrouting, Length: 40}, syn},
		{"no payload", packetMessage(packetHdr(1, capture.Input)), kindPacket, metadata{},
			capture.Packet{Queue: 5, ID: 1, Hook: capture.Input}, nil},
		{"short mark", packetMessage(packetHdr(1, capture.Input), attr{attrMark, []byte{1, 2, 3}}, payload), kindPacket, metadata{},
			capture.Packet{Queue: 5, ID: 1, Hook: capture.Input, Length: 40}, syn},
		{"trailing bytes", alter(packetMessage(packetHdr(1, capture.Input), payload), func(b []byte) []byte { return append(b, 1, 2, 3) }), kindPacket, metadata{},
			capture.Packet{Queue: 5, ID: 1, Hook: capture.Input, Length: 40}, syn},
		{"cut in the payload", wholeMessage[:len(wholeMessage)-1], kindTruncated, metadata{in: 3, out: 4},
			capture.Packet{Queue: 5, ID: 77, Hook: capture.Forward, Mark: 0x1234, Length: 1500}, nil},
		{"attribute of length 0", alter(packetMessage(packetHdr(1, capture.Input), payload), func(b []byte) []byte {
			native.PutUint16(b[prefixLen+12:], 0)
			return b
		}), kindTruncated, metadata{}, capture.Packet{Queue: 5, ID: 1, Hook: capture.Input}, nil},
		{"attribute of length 0 at the end", alter(packetMessage(packetHdr(1, capture.Input), payload), func(b []byte) []byte {
			b = append(b, 0, 0, 0, 0)
			native.PutUint32(b, uint32(len(b)))
			return b
		}), kindTruncated, metadata{}, capture.Packet{Queue: 5, ID: 1, Hook: capture.Input, Length: 40}, syn},
		{"an empty attribute at the end", packetMessage(packetHdr(1, capture.Output), payload, attr{attrUID, nil}), kindPacket, metadata{},
			capture.Packet{Queue: 5, ID: 1, Hook: capture.Output, Length: 40, Owned: true}, syn},
		{"short packet header", packetMessage(attr{attrPacketHdr, make([]byte, 6)}, payload), kindMalformed, metadata{}, capture.Packet{}, nil},
		{"no packet header", packetMessage(payload), kindMalformed, metadata{}, capture.Packet{}, nil},
		{"empty", nil, kindMalformed, metadata{}, capture.Packet{}, nil},
		{"short header", wholeMessage[:15], kindMalformed, metadata{}, capture.Packet{}, nil},
		{"header only", wholeMessage[:16], kindMalformed, metadata{}, capture.Packet{}, nil},
		{"length below the header's", alter(wholeMessage, func(b []byte) []byte { native.PutUint32(b, 19); return b }), kindMalformed, metadata{}, capture.Packet{}, nil},
		{"another type", alter(wholeMessage, func(b []byte) []byte { native.PutUint16(b[4:], msgVerdict); return b }), kindMalformed, metadata{}, capture.Packet{}, nil},
		{"acknowledgement", errorMessage(0), kindAck, metadata{}, capture.Packet{}, nil},
		{"refusal", errorMessage(-int32(unix.ENOENT)), kindRefused, metadata{}, capture.Packet{}, nil},
		{"refusal of what may have been sent before", alter(errorMessage(-int32(unix.ENOENT)), func(b []byte) []byte { markRepeated(b); return b }), kindAck, metadata{}, capture.Packet{}, nil},
		{"short error", errorMessage(0)[:headerLen+3], kindMalformed, metadata{}, capture.Packet{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p capture.Packet
			m, k := parse(c.msg, &p)
			if k != c.kind {
				t.Fatalf("kind %d, want %d", k, c.kind)
			}
			if k != kindPacket && k != kindTruncated {
				return
			}
			if !slices.Equal(p.Data, c.data) {
				t.Errorf("data % x, want % x", p.Data, c.data)
			}
			p.Data = nil
			if m != c.metadata || !samePacket(&p, &c.want) {
				t.Errorf("%+v %+v\nwant %+v %+v", m, p, c.metadata, c.want)
			}
		})
	}
}

// samePacket compares what parse sets, without Data.
func samePacket(a, b *capture.Packet) bool {
	return a.Queue == b.Queue && a.ID == b.ID && a.Hook == b.Hook && a.Length == b.Length &&
		a.Header == b.Header && a.Mark == b.Mark && a.Marked == b.Marked && a.Verdict == b.Verdict &&
		a.Owned == b.Owned && a.UID == b.UID && a.GID == b.GID
}

func TestAppendVerdict(t *testing.T) {
	// Lengths and types are in the machine's byte order, all other numbers in the
	// network's.
	n16 := func(v uint16) string { return string(native.AppendUint16(nil, v)) }
	header, mark := n16(12)+n16(2), n16(8)+n16(3)
	for _, c := range []struct {
		name string
		p    capture.Packet
		want string // after the netlink header
	}{
		{"accept", capture.Packet{Queue: 0x0102, ID: 77, Verdict: capture.Accept, Mark: 9},
			"\x00\x00\x01\x02" + header + "\x00\x00\x00\x01\x00\x00\x00\x4d"},
		{"mark and repeat", capture.Packet{ID: 77, Verdict: capture.Repeat, Mark: 9, Marked: true},
			"\x00\x00\x00\x00" + header + "\x00\x00\x00\x04\x00\x00\x00\x4d" + mark + "\x00\x00\x00\x09"},
		{"another queue", capture.Packet{ID: 77, Verdict: capture.ToQueue(258)},
			"\x00\x00\x00\x00" + header + "\x01\x02\x00\x03\x00\x00\x00\x4d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := appendVerdict(nil, msgVerdict, &c.p)
			if n := native.Uint32(b); int(n) != len(b) || native.Uint16(b[4:]) != 0x0301 || native.Uint16(b[6:]) != 1 {
				t.Errorf("header % x of %d bytes", b[:headerLen], len(b))
			}
			if string(b[headerLen:]) != c.want {
				t.Errorf("% x\nwant % x", b[headerLen:], c.want)
			}
		})
	}
}

// TestEncode checks that a run of equal verdicts shares a message with the last id.
func TestEncode(t *testing.T) {
	packets := func(verdicts ...capture.Verdict) (all []capture.Packet) {
		for _, v := range verdicts {
			all = append(all, capture.Packet{Verdict: v})
		}
		return all
	}
	marked := packets(capture.Accept, capture.Accept, capture.Accept)
	marked[1].Marked = true
	const one, run = msgVerdict, msgVerdictBatch
	type message struct {
		typ     uint16
		verdict capture.Verdict
		id      uint32
	}
	for _, c := range []struct {
		name    string
		packets []capture.Packet
		want    []message
	}{
		{"one", packets(capture.Drop), []message{{one, capture.Drop, 100}}},
		{"a run", packets(capture.Drop, capture.Drop, capture.Drop), []message{{run, capture.Drop, 102}}},
		{"two runs", packets(capture.Drop, capture.Drop, capture.Accept, capture.Accept), []message{{run, capture.Drop, 101}, {run, capture.Accept, 103}}},
		{"by turns", packets(capture.Drop, capture.Accept, capture.Drop), []message{{one, capture.Drop, 100}, {one, capture.Accept, 101}, {one, capture.Drop, 102}}},
		{"a mark within", marked, []message{{one, capture.Accept, 100}, {one, capture.Accept, 101}, {one, capture.Accept, 102}}},
		{"to two queues", packets(capture.ToQueue(1), capture.ToQueue(1), capture.ToQueue(2)), []message{{run, capture.ToQueue(1), 101}, {one, capture.ToQueue(2), 102}}},
	} {
		q := &Queue{batch: new(batch), inbox: newInbox()}
		for i := range c.packets {
			q.packets[i] = c.packets[i]
			q.packets[i].ID = uint32(100 + i)
		}
		var got []message
		for b := q.encode(len(c.packets)); len(b) > 0; b = b[native.Uint32(b):] {
			body := b[prefixLen+4:]
			got = append(got, message{native.Uint16(b[4:]), capture.Verdict(binary.BigEndian.Uint32(body)), binary.BigEndian.Uint32(body[4:])})
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// loaded returns a queue without a socket. Its buffers hold n copies of a message.
func loaded(n int, msg []byte) *Queue {
	q := &Queue{batch: new(batch), inbox: newInbox()}
	const never = 1 << 62 // asked in the future: never too old
	q.devices = deviceNames{fd: -1, known: map[uint32]knownName{3: {"eth0", never}, 4: {"eth1", never}}}
	for i := range n {
		q.heads[i].len = uint32(copy(q.buffers[i][:], msg))
	}
	return q
}

func TestNoAllocations(t *testing.T) {
	q := loaded(batchSize, wholeMessage)
	allocs := testing.AllocsPerRun(100, func() {
		n := q.parse(batchSize)
		for i := range n {
			q.packets[i].Verdict, q.packets[i].Marked = capture.Accept, true
		}
		q.encode(n)
	})
	if allocs != 0 {
		t.Errorf("%v allocations a batch, want 0", allocs)
	}
	if p := &q.packets[batchSize-1]; p.In != "eth0" || p.Out != "eth1" || p.DstPort != 22 || !p.Leaving() {
		t.Errorf("the last packet is %+v", p)
	}
}

// BenchmarkPacket measures a packet's way through the batch, without the two system
// calls: in memory of this process alone, and in memory that outlives it.
func BenchmarkPacket(b *testing.B) {
	b.Run("pooled", func(b *testing.B) {
		q := loaded(batchSize, wholeMessage)
		b.ReportAllocs()
		for range b.N/batchSize + 1 {
			q.encode(q.parse(batchSize))
		}
	})
	b.Run("kept", func(b *testing.B) {
		q := loaded(batchSize, wholeMessage)
		k, err := makeKept(testNotes)
		if err != nil {
			b.Fatal(err)
		}
		defer k.release()
		k.buffers = q.buffers
		q.inbox = &k.inbox
		b.ReportAllocs()
		for range b.N/batchSize + 1 {
			for i := range q.heads { // which the kernel does
				q.heads[i].len = uint32(len(wholeMessage))
			}
			q.encode(q.parse(batchSize))
			q.clear(batchSize)
		}
	})
}

func FuzzMessage(f *testing.F) {
	f.Add(wholeMessage)
	f.Add(errorMessage(-2))
	q := loaded(0, nil)
	f.Fuzz(func(t *testing.T, msg []byte) {
		q.heads[0].len = uint32(len(msg)) // MSG_TRUNC where it is more than the buffer
		copy(q.buffers[0][:], msg)
		n := q.parse(1)
		if n > 1 {
			t.Fatalf("%d packets of one message", n)
		}
		if b := q.encode(n); n == 1 && len(b) != verdictLen-8 || n == 0 && len(b) != 0 {
			t.Fatalf("%d packets, an answer of %d bytes", n, len(b))
		}
		if n == 1 && len(q.packets[0].Data) > len(msg) {
			t.Fatal("more data than the message has")
		}
	})
}
