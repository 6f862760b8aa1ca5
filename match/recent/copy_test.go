package recent

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// TestReadAcrossGaps reads tables with many free slots in a row, around the number
// that a cursor looks at without a pause.
func TestReadAcrossGaps(t *testing.T) {
	for _, free := range []int{1, scanSlots - 1, scanSlots, scanSlots + 1, 2 * scanSlots, 3*scanSlots - 1} {
		w := filled(t, free+1)
		for i := range free {
			if err := w.write("t", fmt.Sprintf("-10.1.%d.%d", i>>8, i&255)); err != nil {
				t.Fatal(err)
			}
		}
		seen := checkLines(t, w.read(w.Table("t").Cursor(), 4096))
		if last := fmt.Sprintf("10.1.%d.%d", free>>8, free&255); len(seen) != 1 || seen[last] != 1 {
			t.Errorf("after %d free slots there are %v, want %s", free, seen, last)
		}
	}
}

// TestReadDoesNotStarve: while the table changes without a pause, each copy gives
// entries all the same.
func TestReadDoesNotStarve(t *testing.T) {
	w := newWorld(t, nil, Classic)
	set := w.rule(Info{CheckSet: Set})
	for i := range 100 {
		w.arrives(set, fmt.Sprintf("192.0.2.%d", i), 64)
	}
	table := set.table
	var stop atomic.Bool
	var working sync.WaitGroup
	defer working.Wait()
	defer stop.Store(true)
	working.Go(func() {
		for !stop.Load() {
			table.lockToChange()
			table.mu.Unlock()
		}
	})
	for range 2000 {
		c, s := table.Cursor(), new(scratch)
		if _, done, err := c.copyEntries(s, 1<<20); !done || err != nil || len(s.raw) == 0 || c.next == 1 {
			t.Fatalf("a copy beside changes has %d bytes, done %t, %v", len(s.raw), done, err)
		}
	}
}

// TestCopyOfWhatIsGone: a table may go between the beginning of a read and its copy.
func TestCopyOfWhatIsGone(t *testing.T) {
	w := newWorld(t, nil, Classic)
	set := w.rule(Info{CheckSet: Set})
	w.arrives(set, "192.0.2.1", 64)
	c := set.table.Cursor()
	w.Destroy(set)
	if _, _, err := c.copyEntries(new(scratch), 1); err != errGone {
		t.Errorf("a copy out of a table that is gone: %v", err)
	}
}
