package recent

import (
	"bytes"
	"testing"
)

// longLine is a table of three lines. The second has about 240 KB.
func longLine(t *testing.T) *world {
	w := newWorld(t, nil, Modern)
	set := w.rule(Info{CheckSet: Set})
	w.rule(Info{CheckSet: Check, HitCount: 60000})
	w.arrives(set, "192.0.2.1", 64)
	for range 40000 {
		w.arrives(set, "192.0.2.2", 64)
	}
	w.arrives(set, "192.0.2.3", 64)
	return w
}

// TestKeptLines opens a table many times, and reads from each the first line, and
// from every other one the first 100 bytes of the long line. The open files keep
// the rest of that, but no more than maxKept together, or maxKeptOf where one user has
// opened all. Each goes on where it was.
func TestKeptLines(t *testing.T) {
	t.Run("of many users", func(t *testing.T) {
		open, kept := keptLines(t, nil)
		if most := maxKept + pageSize*open; kept > most || kept < maxKept-1<<19 {
			t.Errorf("%d open files keep %d bytes, want up to %d", open, kept, most)
		}
	})
	t.Run("of one user", func(t *testing.T) {
		var of Kept
		if open, kept := keptLines(t, &of); kept > maxKeptOf || kept < maxKeptOf-1<<19 {
			t.Errorf("%d open files keep %d bytes, want up to %d", open, kept, maxKeptOf)
		}
		if n := of.bytes.Load(); n != 0 {
			t.Errorf("%d bytes are counted after all files of the user were closed", n)
		}
	})
}

func keptLines(t *testing.T, of *Kept) (files, kept int) {
	w := longLine(t)
	table := w.Table("t")
	all := w.read(table.Cursor(), 1<<20)
	first := bytes.IndexByte(all, '\n') + 1
	var open []*Cursor
	var read [][]byte // from each
	for i := range 3 * maxKept / len(all) {
		c := table.CursorAt(Place{}, of)
		sizes := []int{first, 100}
		if i%2 == 1 {
			sizes = []int{first - 1, 1} // a read that ends what was begun forms the next line
		}
		var text []byte
		for _, size := range sizes {
			buf := make([]byte, size)
			if n, err := c.ReadAt(buf, int64(len(text))); n != size || err != nil {
				t.Fatal(len(text), n, err)
			}
			text = append(text, buf...)
		}
		kept += len(c.rest)
		open, read = append(open, c), append(read, text)
	}
	for _, i := range []int{len(open) - 1, len(open) - 2, 0} { // the last keep nothing until the first is at its end
		c, text := open[i], read[i]
		for n := -1; n != 0; {
			buf := make([]byte, 5000)
			var err error
			if n, err = c.ReadAt(buf, int64(len(text))); err != nil {
				t.Fatal(err)
			}
			text = append(text, buf[:n]...)
		}
		if !bytes.Equal(text, all) {
			t.Errorf("file %d: %d bytes in pieces, want %d, or others", i, len(text), len(all))
		}
	}
	for _, c := range open {
		c.Close()
	}
	if n := table.module.kept.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are counted after all files were closed", n)
	}
	return len(open), kept
}

// TestLongLineWhileChanging: the pieces of a long line are of one moment.
func TestLongLineWhileChanging(t *testing.T) {
	w := longLine(t)
	table := w.Table("t")
	all := w.read(table.Cursor(), 1<<20)
	all = all[:bytes.LastIndex(all, []byte("src="))] // two lines
	c := table.Cursor()
	text := make([]byte, len(all)+1)
	first, err := c.ReadAt(text[:5000], 0)
	if err != nil {
		t.Fatal(err)
	}
	for at := first; at < len(all); {
		n, err := c.ReadAt(text[at:at+min(5000, len(all)-at)], int64(at))
		if n == 0 || err != nil {
			t.Fatalf("%d bytes, %v at %d", n, err, at)
		}
		at += n
		if err := w.write("t", "/"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(text[:len(all)], all) {
		t.Error("the pieces are not those of the line as it was")
	}
	if n, err := c.ReadAt(text, int64(len(all))); n != 0 || err != nil {
		t.Errorf("after the line: %d, %v", n, err)
	}
	if n := table.module.kept.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are counted after the end", n)
	}
}

// TestKeptOfNobody has a user keep nothing of a long line, since all others keep as much
// as they may.
func TestKeptOfNobody(t *testing.T) {
	w := longLine(t)
	w.module.kept.bytes.Store(maxKept)
	var of Kept
	c := w.Table("t").CursorAt(Place{}, &of)
	text := make([]byte, 1000)
	first, err := c.ReadAt(text, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.ReadAt(text, int64(first))
	if n != len(text) || err != nil || len(c.rest) > 0 || of.bytes.Load() != 0 {
		t.Errorf("%d bytes, %v; %d are kept, and %d counted", n, err, len(c.rest), of.bytes.Load())
	}
}
