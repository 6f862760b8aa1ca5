package nfqueue

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// FuzzKept changes bytes of what a process has received. The next one refuses its memory,
// or answers each packet that is in it.
func FuzzKept(f *testing.F) {
	first, err := makeKept(testNotes)
	if err != nil {
		f.Fatal(err)
	}
	header := [64]byte(first.bytes)
	heads := unsafe.Slice((*byte)(unsafe.Pointer(&first.heads)), unsafe.Sizeof(first.heads))
	const some = 4 // messages
	q := loaded(0, nil)
	f.Fuzz(func(t *testing.T, received byte, garbage []byte) {
		copy(first.bytes, header[:])
		first.clear(batchSize)
		first.prepare()
		for i := range int(received) % (some + 1) {
			message := packetMessage(packetHdr(uint32(5+i), capture.Input), attr{attrPayload, syn})
			first.heads[i].len = uint32(copy(first.buffers[i][:], message))
		}
		lab.Garble(garbage[:min(len(garbage), 300)], first.bytes[:len(header)], heads, first.buffers[0][:100], first.buffers[1][:100])
		next, err := findKept(first.fd, testNotes)
		if err != nil {
			return
		}
		defer unix.Munmap(next.bytes)
		q.kept, q.inbox = next, &next.inbox
		got := q.received()
		parsed := q.parse(got)
		n := q.passOver(parsed)
		if got > batchSize || parsed > got || n > parsed {
			t.Fatalf("%d packets to answer, of %d in %d messages", n, parsed, got)
		}
		for i := range n {
			q.packets[i].Verdict = capture.Accept
		}
		if b := q.encode(n); len(b) > n*verdictLen || (n > 0) != (len(b) > 0) {
			t.Fatalf("an answer of %d bytes to %d packets", len(b), n)
		}
		if q.clear(got); next.received() != 0 {
			t.Fatalf("after all are answered %d messages are left", next.received())
		}
	})
}
