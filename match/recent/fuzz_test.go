package recent

import (
	"fmt"
	"net/netip"
	"testing"
	"unsafe"

	"recentfs/match/jiffies"
	"recentfs/tests/lab"
)

// leftMemory has what a process before has left of table t.
type leftMemory struct {
	Anonymous
	Left
}

func (l leftMemory) Find(string) []Left { return []Left{l.Left} }

// keptCopy is a mapping that outlives a process, as far as the table knows.
type keptCopy struct{ Mapping }

// FuzzRecovered changes bytes of what a process has left of a table, in the middle of a
// change of it or not. The next process refuses it, or has a table that works.
func FuzzRecovered(f *testing.F) {
	f.Fuzz(func(t *testing.T, isImage bool, garbage []byte) {
		w := newWorld(t, func(p *Params) { p.ListTot, p.PktListTot = 4, 3 }, Classic)
		set := w.rule(Info{CheckSet: Set})
		for i := range 7 {
			w.clock.Set(w.clock.Now() + 1)
			w.arrives(set, fmt.Sprintf("192.0.2.%d", i%5), 64)
		}
		if err := w.write("t", "-192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		was := w.Table("t").memory.Bytes()
		made, err := Anonymous{}.Make(uint64(len(was)))
		if err != nil {
			t.Fatal(err)
		}
		m := keptCopy{made}
		copy(m.Bytes(), was)
		lab.Garble(garbage[:min(len(garbage), 300)], m.Bytes())
		w.Destroy(set)

		left := leftMemory{Left: Left{Open: func() (Mapping, error) { return m, nil }}}
		if isImage {
			left.Now = func(stamp jiffies.Jiffies) jiffies.Jiffies { return stamp - 1 }
			h := (*header)(unsafe.Pointer(&m.Bytes()[0])) // somebody may have made the file
			h.checksum = h.sum()
		}
		w.Registry = w.module.NewRegistryIn(left, nil)
		set = w.rule(Info{CheckSet: Set})
		use := func() {
			if r := &w.Table("t").region; !r.linked() || r.header.entries > r.header.limit || int(r.header.entries) != len(w.lines("t")) {
				t.Fatalf("%d entries of %d, linked: %t, lines %q", r.header.entries, r.header.limit, r.linked(), w.lines("t"))
			}
		}
		use()
		update := w.rule(Info{CheckSet: Update | Reap, HitCount: 2, Seconds: 1})
		defer w.Destroy(update)
		defer w.Destroy(set)
		for i := range 9 {
			w.clock.Set(w.clock.Now() + testHZ/2)
			w.arrives(set, fmt.Sprintf("192.0.2.%d", i), 64)
			w.arrives(update, fmt.Sprintf("192.0.2.%d", i/2), 64)
			use()
		}
		if err := w.Table("t").Merger().Add([]Addition{{Addr: netip.MustParseAddr("192.0.2.77"), Stamps: []jiffies.Jiffies{w.clock.Now() - 5, w.clock.Now()}}}); err != nil {
			t.Fatal(err)
		}
		use()
		for _, text := range []string{"-192.0.2.77", "+2001:db8::1", "/", "+192.0.2.1"} {
			if err := w.write("t", text); err != nil {
				t.Fatal(err)
			}
			use()
		}
	})
}
