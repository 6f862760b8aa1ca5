package ruleset

import (
	"hash/fnv"
	"unsafe"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// Notes say how far the deciding of a batch came, so that the next process goes on
// there if this one is killed: each packet is decided once. They are for memory that
// outlives the process, and have no pointer.
type Notes struct {
	rules   uint64                    // Set.fingerprint of the rules that decide
	answers [capture.BatchSize]answer // of the packets of a batch that are decided
	receipt recent.Receipt            // of the packet that comes next
}

// answer is what was decided of a packet. A process that finds its id finds all of
// it.
type answer struct {
	id, verdict, mark uint32
	marked            uint32 // 0 or 1
}

const (
	// NotesSize is how many bytes Notes take. Most of them are written only for a
	// packet that meets many -m recent.
	NotesSize = int(unsafe.Sizeof(Notes{}))
	// NotesVersion is that of the format of Notes.
	NotesVersion = 1
)

// NotesIn are the notes in memory of NotesSize bytes: zeroes, or what another process
// has noted by the same NotesVersion. The memory starts at a page, is not Go's, and
// stays as long as the Notes are used.
func NotesIn(memory []byte) *Notes {
	_ = memory[NotesSize-1]
	return (*Notes)(unsafe.Pointer(&memory[0]))
}

// Settle finds out how far the process before came, where that is in doubt. It comes
// when the rules of the registry are made, for all queues before the first of them
// decides, and before anything else changes a table.
func (n *Notes) Settle(reg *recent.Registry) { n.receipt.Settle(reg) }

// DecideNoted is Decide with notes of how far it came.
func (q *Queue) DecideNoted(batch []capture.Packet, now jiffies.Jiffies, n *Notes) {
	q.hold = hold{now: now, Batch: recent.Batch{Receipt: &n.receipt}}
	q.own(n)
	for i := range batch {
		q.hold.Begin(batch[i].ID)
		q.note(n, i, &batch[i])
	}
	q.hold.End()
}

// Resume decides the batch that a process before has received: the packets that it
// had decided are decided so. If its rules were the same, the packet that it was at
// goes on where it was. Settle comes before.
func (q *Queue) Resume(batch []capture.Packet, now jiffies.Jiffies, n *Notes) {
	q.hold = hold{now: now, Batch: recent.Batch{Receipt: &n.receipt}}
	q.own(n)
	for i := range batch {
		p := &batch[i]
		if a := &n.answers[i]; a.id == p.ID && capture.Verdict(a.verdict).IsKnown() {
			p.Verdict, p.Mark, p.Marked = capture.Verdict(a.verdict), a.mark, a.marked != 0
			continue
		}
		q.hold.Resume(p.ID)
		q.note(n, i, p)
	}
	q.hold.End()
}

// own makes the notes those of this queue's rules. What other rules have done for a
// packet says nothing about its way through these.
func (q *Queue) own(n *Notes) {
	if n.rules != q.set.fingerprint {
		n.receipt.Drop()
		n.rules = q.set.fingerprint
	}
}

// note decides a packet and notes the answer.
func (q *Queue) note(n *Notes, i int, p *capture.Packet) {
	q.decide(p)
	a := &n.answers[i]
	a.verdict, a.mark, a.marked = uint32(p.Verdict), p.Mark, 0
	if p.Marked {
		a.marked = 1
	}
	a.id = p.ID
}

// fingerprint is a hash of the rules as they are printed.
func (f *File) fingerprint() uint64 {
	h := fnv.New64a()
	_ = f.Save(h) // which never fails
	return h.Sum64()
}
