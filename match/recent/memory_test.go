package recent

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addressSpace is how much of it the process has mapped: statm of proc(5).
func addressSpace(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var pages int64
	if _, err := fmt.Sscan(string(text), &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// lessMemory has no memory for a region of more bytes.
type lessMemory uint64

func (lessMemory) Find(string) []Left { return nil }

func (most lessMemory) Make(size uint64) (Mapping, error) {
	if size > uint64(most) {
		return nil, errGone
	}
	return Anonymous{}.Make(size)
}

// TestMemoryIsGivenBack has tables of 3 GB or more of address space each, so that
// one of them is more than all else that the process may map meanwhile.
func TestMemoryIsGivenBack(t *testing.T) {
	const gigabyte = 1 << 30
	for _, c := range []struct {
		name string
		most int64 // that is mapped at a time, in GB
		do   func(w *world, look func())
	}{
		{"made and destroyed", 9, func(w *world, look func()) {
			for _, name := range []string{"a", "b", "c"} {
				defer w.Destroy(w.rule(Info{CheckSet: Set, Name: name}))
			}
			look()
		}},
		{"widened", 8, func(w *world, look func()) {
			defer w.Destroy(w.rule(Info{CheckSet: Set}))
			defer w.Destroy(w.rule(Info{CheckSet: Check, HitCount: 60}))
			look()
		}},
		{"resized", 8, func(w *world, look func()) {
			set := w.rule(Info{CheckSet: Set})
			defer w.Destroy(set)
			for _, limit := range []uint32{1 << 20, 1 << 10, 1 << 25, 1 << 24} {
				w.arrives(set, "192.0.2.1", 64)
				w.reload(func(p *Params) { p.ListTot, p.PktListTot = limit, 40 }, Info{CheckSet: Set})
			}
			look()
		}},
		{"resized, and refused", 3, func(w *world, look func()) {
			defer w.Destroy(w.rule(Info{CheckSet: Set}))
			p := w.module.Params()
			p.ListTot = 1 << 23
			l, err := w.module.Reload(p)
			if err != nil {
				t.Fatal(err)
			}
			rules, err := l.CheckAll(w.Registry, []Info{{Name: "t", CheckSet: Set, Mask: AllOnes}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = l.CheckAll(w.Registry, []Info{
				{Name: "t", CheckSet: Check, HitCount: 60, Mask: AllOnes},
				{Name: "new", CheckSet: Set, Mask: AllOnes},
				{Name: "bad", CheckSet: Check, HitCount: 1 << 15, Mask: AllOnes},
			})
			if err == nil {
				t.Error("a table of 2 TB was to be had")
			}
			l.Cancel()
			w.Destroy(rules[0])
			look()
		}},
		{"flushed", 3, func(w *world, look func()) {
			set := w.rule(Info{CheckSet: Set})
			defer w.Destroy(set)
			for range 3 {
				w.arrives(set, "192.0.2.1", 64)
				if err := w.write("t", "/"); err != nil {
					t.Error(err)
				}
			}
			look()
		}},
		{"refused", 3, func(w *world, look func()) {
			defer w.Destroy(w.rule(Info{CheckSet: Set}))
			_, err := w.CheckAll([]Info{
				{Name: "t", CheckSet: Check, HitCount: 60, Mask: AllOnes},
				{Name: "new", CheckSet: Set, Mask: AllOnes},
				{Name: "newer", CheckSet: Set, Mask: AllOnes},
				{Name: "bad", CheckSet: Check, HitCount: 1 << 15, Mask: AllOnes},
			})
			if err == nil {
				t.Error("a table of 4 TB was to be had")
			}
			look()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.ListTot = 1 << 24; p.PktListTot = 20 }, Modern)
			w.memory = lessMemory(1000 * gigabyte)
			before := addressSpace(t)
			c.do(w, func() {
				if got := (addressSpace(t) - before) / gigabyte; got < c.most || got > c.most+6 {
					t.Errorf("with tables %d GB are mapped, want %d or somewhat more", got, c.most)
				}
			})
			if left := addressSpace(t) - before; left > gigabyte {
				t.Errorf("%d GB stay mapped", left/gigabyte)
			}
		})
	}
}

// TestUnmapWaits has a cursor copy out of a region while the table moves to
// another one: the first region stays mapped until the copy ends.
func TestUnmapWaits(t *testing.T) {
	for _, c := range []struct {
		name string
		move func(w *world, set *Rule)
	}{
		{"flushed", func(w *world, _ *Rule) {
			if err := w.write("t", "/"); err != nil {
				t.Error(err)
			}
		}},
		{"widened", func(w *world, _ *Rule) {
			if _, err := check(w.Registry, Info{Name: "t", CheckSet: Check, HitCount: 60, Mask: AllOnes}); err != nil {
				t.Error(err)
			}
		}},
		{"resized", func(w *world, _ *Rule) {
			w.reload(func(p *Params) { p.ListTot = 7 }, Info{CheckSet: Set})
		}},
		{"destroyed", func(w *world, set *Rule) { w.Destroy(set) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Modern)
			set := w.rule(Info{CheckSet: Set})
			w.arrives(set, "192.0.2.1", 64)
			table := set.table
			table.copying.RLock() // as the cursor does
			moved := make(chan struct{})
			go func() {
				defer close(moved)
				c.move(w, set)
			}()
			// Once somebody waits for the cursor, no other cursor gets the lock.
			for table.copying.TryRLock() {
				table.copying.RUnlock()
				select {
				case <-moved:
					t.Fatal("the region was unmapped under the cursor")
				default:
					runtime.Gosched()
				}
			}
			table.copying.RUnlock()
			<-moved
		})
	}
}

// TestHugePages: a table asks for huge pages once it has many entries.
func TestHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skipf("this kernel has no huge pages to ask for: %v", err)
	}
	w := newWorld(t, func(p *Params) { p.ListTot = 2 * manyEntries }, Classic)
	set := w.rule(Info{CheckSet: Set})
	for i := 1; i <= manyEntries; i++ {
		once(set, 1000, unix.NFPROTO_IPV4, &[16]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}, nil, 64, false)
		if i < manyEntries-1 {
			continue
		}
		if got, want := asksForHugePages(t, &set.table.memory.Bytes()[0]), i == manyEntries; got != want {
			t.Errorf("with %d entries: asks %t, want %t", i, got, want)
		}
	}
}

// asksForHugePages reads the flag hg of a mapping, as proc_pid_smaps(5) describes it.
func asksForHugePages(t *testing.T, first *byte) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	at, within := uintptr(unsafe.Pointer(first)), false
	for line := range strings.Lines(string(text)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			within = from <= at && at < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && within {
			return slices.Contains(strings.Fields(flags), "hg")
		}
	}
	t.Fatal("the table's memory is not mapped")
	return false
}
