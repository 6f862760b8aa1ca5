package recent

import (
	"errors"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestCheckAllOrNothing makes a set of rules whose last rule needs more memory
// than any machine has. The table that another rule would widen keeps its entries.
func TestCheckAllOrNothing(t *testing.T) {
	w := newWorld(t, nil, Modern)
	set := w.rule(Info{CheckSet: Set})
	w.arrives(set, "192.0.2.1", 64)
	huge := w.module.params
	w.module.params.ListTot = MaxListTot // for tables that are made from now on
	_, err := w.CheckAll([]Info{
		{Name: "t", CheckSet: Check, HitCount: 60, Mask: AllOnes},
		{Name: "new", CheckSet: Set, Mask: AllOnes},
		{Name: "large", CheckSet: Check, HitCount: 65535, Mask: AllOnes},
	})
	w.module.params = huge
	var failed *CheckError
	if !errors.As(err, &failed) || failed.Rule != 2 || failed.Table != "large" || !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("error %v, want one of rule 2", err)
	}
	w.want("t", "src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000")
	if len(w.Tables()) != 1 {
		t.Error("refused rules left a table")
	}
	rules, err := w.CheckAll([]Info{
		{Name: "t", CheckSet: Check, HitCount: 33, Mask: AllOnes},
		{Name: "t", CheckSet: Check, HitCount: 100, Mask: AllOnes},
		{Name: "new", CheckSet: Set, Mask: AllOnes},
	})
	if err != nil || len(rules) != 3 || rules[0].table != set.table || set.table.header.ring != 128 || len(w.Tables()) != 2 {
		t.Errorf("%v: %d rules, %d stamps, %d tables", err, len(rules), set.table.header.ring, len(w.Tables()))
	}
	w.want("t")
}

// TestOpenFilesKeepLittle opens many files, and reads a part of each that ends
// within a line.
func TestOpenFilesKeepLittle(t *testing.T) {
	w := filled(t, 5000)
	buf := make([]byte, 128<<10)
	cursors := make([]*Cursor, 500)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range cursors {
		cursors[i] = w.Table("t").Cursor()
		if n, err := cursors[i].ReadAt(buf, 0); err != nil || !strings.HasSuffix(string(buf[:n]), "\n") {
			t.Fatal(n, err)
		}
	}
	runtime.GC()
	runtime.GC() // the second empties the pools
	runtime.ReadMemStats(&after)
	if per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(len(cursors)); per > 2*pageSize {
		t.Errorf("an open file keeps %d bytes", per)
	}
	runtime.KeepAlive(cursors)
}
