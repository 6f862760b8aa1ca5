package ruleset

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// FuzzNotes changes bytes of what a process has noted of a batch. The next one goes on
// with the batch all the same, and gives each packet a verdict that the kernel knows.
func FuzzNotes(f *testing.F) {
	memory, err := unix.Mmap(-1, 0, NotesSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		f.Fatal(err)
	}
	notes := NotesIn(memory)
	// The rest are outcomes of rules that no packet of ours gets to.
	const start = int(unsafe.Offsetof(notes.receipt)) + 1000
	f.Fuzz(func(t *testing.T, decided byte, otherRules bool, garbage []byte) {
		clear(memory[:start])
		batch := func(from uint32) []capture.Packet {
			all := []capture.Packet{v4, v6, with(v4, udp), with(v6, icmp(128, 0)), with(v4, mark(1)), v4, {}}
			for i := range all {
				all[i].ID = from + uint32(i)
			}
			return all
		}
		b := load(t, everything)
		b.Queue(0).DecideNoted(batch(1)[:int(decided)%8], b.clock.Now(), notes)
		lab.Garble(garbage[:min(len(garbage), 300)], memory[:start])
		if otherRules {
			b = load(t, ssh)
		}
		notes.Settle(b.reg)
		for round := range uint32(3) {
			all := batch(1 + 10*round)
			b.Queue(0).Resume(all, b.clock.Now(), notes)
			for i := range all {
				if !all[i].Verdict.IsKnown() {
					t.Fatalf("round %d: packet %d has verdict %#x", round, i, all[i].Verdict)
				}
			}
			b.Queue(0).DecideNoted(batch(6+10*round), b.clock.Now(), notes)
		}
	})
}
