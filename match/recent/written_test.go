package recent

import (
	"testing"

	"golang.org/x/sys/unix"
)

// aWrite and aFile are the names of a write and of the file that it is for.
const aWrite, aFile = 10, 7

// TestWritten notes one write after the other.
func TestWritten(t *testing.T) {
	w := newWorld(t, nil, Classic)
	w.rule(Info{CheckSet: Set})
	table := w.Table("t")
	note := new(Written)
	for i, c := range []struct {
		text string
		pos  int64
		done bool
		next int64
	}{
		{"+192.0.2.1\n", 0, true, 11},
		{"nonsense", 0, false, 0},
		{"+192.0.2.1\n", 1, false, 0},
		{"-192.0.2.1", 0, true, 10},
		{"-192.0.2.1", 0, true, 10},
		{"", 0, false, 0},
		{"/\n", 0, true, 0},
	} {
		unique := uint64(2 * i)
		note.Begin(unique, aFile)
		_, _, _ = table.WriteNoted(note, []byte(c.text), c.pos)
		switch n, next, ok := note.Done(unique); {
		case ok != c.done:
			t.Errorf("%q is done: %t, want %t", c.text, ok, c.done)
		case ok && (n != len(c.text) || next != c.next):
			t.Errorf("%q: %d bytes, then at %d", c.text, n, next)
		}
		if _, _, ok := note.Done(unique + 2); ok {
			t.Errorf("%q: another write is done too", c.text)
		}
	}
	if _, _, ok := (*Written)(nil).Done(0); ok {
		t.Error("where nothing is noted a write is done")
	}
}

// tight is memory that has room for the head and one more slot.
type tight struct {
	anonymous
	most *uint64
}

func (m tight) Reserve(n uint64) (uint64, error) {
	if *m.most == 0 {
		*m.most = n
	}
	if n > *m.most {
		return *m.most, unix.ENOSPC
	}
	return *m.most, nil
}

type tightMemory struct{ Anonymous }

func (tightMemory) Make(size uint64) (Mapping, error) {
	m, err := Anonymous{}.Make(size)
	if err != nil {
		return nil, err
	}
	return tight{m.(anonymous), new(uint64)}, nil
}

// TestWrittenWithoutMemory refuses a write for want of memory. Then others change the
// table.
func TestWrittenWithoutMemory(t *testing.T) {
	w := newWorld(t, nil, Classic)
	w.Registry = w.module.NewRegistryIn(tightMemory{}, nil)
	w.rule(Info{CheckSet: Set})
	table, note := w.Table("t"), new(Written)
	w.must("+192.0.2.1")
	note.Begin(aWrite, aFile)
	if _, _, err := table.WriteNoted(note, []byte("+192.0.2.2"), 0); err != unix.ENOSPC {
		t.Fatalf("%v, want ENOSPC", err)
	}
	w.must("-192.0.2.1")
	table.header.change.begun++
	note.Settle(table, aFile)
	if _, _, ok := note.Done(aWrite); ok {
		t.Error("the write is done")
	}
}

// TestWrittenSettle is a process that finds the note of one that was killed.
func TestWrittenSettle(t *testing.T) {
	for _, c := range []struct {
		name  string
		note  func(note *Written, table *Table)
		file  uint64
		write uint64
		done  bool
	}{
		{"before the change", func(*Written, *Table) {}, aFile, aWrite, false},
		{"after it", func(_ *Written, table *Table) { table.header.change.begun++ }, aFile, aWrite, true},
		{"after it, for another file", func(_ *Written, table *Table) { table.header.change.begun++ }, aFile + 1, aWrite, false},
		{"after it, another write", func(_ *Written, table *Table) { table.header.change.begun++ }, aFile, aWrite + 2, false},
		{"it was done", func(note *Written, _ *Table) { note.end(nil) }, aFile, aWrite, true},
		{"it was refused, and others changed the table", func(note *Written, table *Table) {
			note.end(unix.ENOSPC)
			table.header.change.begun++
		}, aFile, aWrite, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			w.rule(Info{CheckSet: Set})
			table, note := w.Table("t"), new(Written)
			note.Begin(aWrite, aFile)
			note.about(table, 3, 4)
			c.note(note, table)
			note.Settle(table, c.file)
			if n, next, ok := note.Done(c.write); ok != c.done || ok && (n != 3 || next != 4) {
				t.Errorf("done %t: %d bytes, then at %d", ok, n, next)
			}
		})
	}
}

// TestReplaceCounts moves a table to another region, and flushes it. Only the latter is
// a change.
func TestReplaceCounts(t *testing.T) {
	w := newWorld(t, nil, Modern)
	w.rule(Info{CheckSet: Set})
	table := w.Table("t")
	table.header.change = change{begun: 5, done: 5}
	w.must("+192.0.2.1")
	w.reload(func(p *Params) { p.ListTot = 300 }, Info{CheckSet: Set})
	if c := table.header.change; c.begun != 5 || c.done != 5 {
		t.Errorf("after a move: %+v", c)
	}
	w.must("/")
	if c := table.header.change; c.begun != 6 || c.done != 6 {
		t.Errorf("after a flush: %+v", c)
	}
}
