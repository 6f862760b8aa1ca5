package recent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAgainstList has thousands of changes made to tables of few addresses,
// where entries crowd in the index, are evicted, and move up past its end, and
// to a plain list beside them: after each change the two hold the same.
func TestAgainstList(t *testing.T) {
	for _, limit := range []uint32{1, 2, 3, 4, 7, 8, 64} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.ListTot = limit }, Classic)
			set := w.rule(Info{CheckSet: Set})
			forget := w.rule(Info{CheckSet: Remove})
			update := w.rule(Info{CheckSet: Update, Seconds: 1})
			var list []string // the least recently seen first
			random := rand.New(rand.NewPCG(1, uint64(limit)))
			for range 5000 {
				// C000:2xx:: has the first bytes of 192.0.2.x.
				a := fmt.Sprintf("192.0.2.%d", random.IntN(int(limit)+3))
				if random.IntN(4) == 0 {
					a = fmt.Sprintf("c000:2%02x::", random.IntN(int(limit)+3))
				}
				at := slices.Index(list, a)
				change := random.IntN(8)
				switch change {
				case 0, 1, 2, 3: // noted
					w.arrives(set, a, 64)
				case 4, 5:
					if seen := w.arrives(update, a, 64); seen != (at >= 0) {
						t.Fatalf("update of %s matches: %v, in a table of %v", a, seen, list)
					}
				case 6, 7:
					if seen := w.arrives(forget, a, 64); seen != (at >= 0) {
						t.Fatalf("remove of %s matches: %v, in a table of %v", a, seen, list)
					}
				}
				if at >= 0 {
					list = slices.Delete(list, at, at+1)
				}
				if change < 4 || change < 6 && at >= 0 {
					list = append(list, a)
				}
				if len(list) > int(limit) {
					list = list[1:]
				}
				w.holds(update.table, list)
			}
		})
	}
}

// holds checks that each address of a list, and no other, is in a table and is
// found there, and that the table's LRU list has the order of this one.
func (w *world) holds(t *Table, list []string) {
	w.Helper()
	n := t.slot(0).newer
	for _, text := range list {
		family, b := bytesOf(text)
		a := loadAddr(&b)
		if found := t.lookup(a, family, 0); found != n || n == 0 {
			w.Fatalf("%s is found in slot %d, and has slot %d in the LRU list of %v", text, found, n, list)
		}
		n = t.slot(n).newer
	}
	if n != 0 || int(t.entries) != len(list) {
		w.Fatalf("the table has %d entries, slot %d behind the last of %v", t.entries, n, list)
	}
	places := 0
	for _, p := range t.index {
		if p.n != 0 {
			places++
		}
	}
	if places != len(list) {
		w.Fatalf("the index has %d places in use for %v", places, list)
	}
}
