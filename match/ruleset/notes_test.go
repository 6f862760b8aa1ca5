package ruleset

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"recentfs/capture"
)

// TestOtherRules goes on with a batch by other rules than those that began it: what
// was decided stays, and the rest is decided by them from the beginning.
func TestOtherRules(t *testing.T) {
	batch := func() []capture.Packet {
		all := repeated(3, v4)
		for i := range all {
			all[i].ID = uint32(5 + i)
		}
		return all
	}
	const drop, accept = "-m recent --set --name A -j DROP", "-m recent --set --name A -j ACCEPT"
	for _, c := range []struct {
		name, second string
		decided      int  // packets that the first process has decided
		begun        bool // it has done all that its rules do to the table for the last one, but not decided it
		stamps       int  // of the second's table
	}{
		{"the same rules, none decided", drop, 0, false, 3},
		{"the same rules", drop, 1, false, 2},
		{"the same rules, within a packet", drop, 1, true, 1},
		{"other rules, none decided", accept, 0, false, 3},
		{"other rules", accept, 1, false, 2},
		{"other rules, within a packet", accept, 1, true, 2},
		{"all decided", accept, 3, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			document := func(rule string) string { return "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 " + rule + "\nCOMMIT\n" }
			notes := new(Notes)
			first := load(t, document(drop)).Queue(0)
			if c.begun {
				first.DecideNoted(batch()[:c.decided+1], start, notes)
				notes.answers[c.decided].id = 0
			} else {
				first.DecideNoted(batch()[:c.decided], start, notes)
			}
			next := load(t, document(c.second))
			all := batch()
			next.Queue(0).Resume(all, start, notes)
			for i, p := range all {
				want := capture.Drop
				if i >= c.decided && c.second == accept {
					want = capture.Accept
				}
				if p.Verdict != want {
					t.Errorf("packet %d: verdict %d, want %d", i, p.Verdict, want)
				}
			}
			text := make([]byte, 4096)
			n, err := next.reg.Table("A").Cursor().ReadAt(text, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := bytes.Count(text[:n], []byte(", ")); c.stamps > 0 && got != c.stamps-1 || c.stamps == 0 && n > 0 {
				t.Errorf("the table is %q, want %d stamps", text[:n], c.stamps)
			}
		})
	}
}

// TestNotedIsDecided: notes change no verdict, and cost no allocation.
func TestNotedIsDecided(t *testing.T) {
	plain, noted, notes := load(t, everything), load(t, everything), new(Notes)
	for round := range 3 {
		batch := []capture.Packet{v4, v6, with(v4, udp), with(v4, icmp(8, 0)), with(v6, icmp(128, 0)), with(v4, fragment(1)), with(v4, mark(1)), {}}
		for i := range batch {
			batch[i].ID = uint32(1 + 100*round + i)
		}
		same := slices.Clone(batch)
		plain.Queue(0).Decide(batch, plain.clock.Now())
		noted.Queue(0).DecideNoted(same, noted.clock.Now(), notes)
		for i := range batch {
			if a, b := &batch[i], &same[i]; a.Verdict != b.Verdict || a.Mark != b.Mark || a.Marked != b.Marked {
				t.Errorf("packet %d: verdict %d, mark %d %t, want %d, %d %t", i, b.Verdict, b.Mark, b.Marked, a.Verdict, a.Mark, a.Marked)
			}
		}
		plain.clock.Advance(time.Second)
		noted.clock.Advance(time.Second)
	}
	batch := []capture.Packet{with(v4, func(p *capture.Packet) { p.ID = 1000 }), v6}
	if allocs := testing.AllocsPerRun(100, func() { noted.Queue(0).DecideNoted(batch, start, notes) }); allocs != 0 {
		t.Errorf("%v allocations a batch", allocs)
	}
}
