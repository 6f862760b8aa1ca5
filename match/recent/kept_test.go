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

// TestKeptLines opens a table many times, and reads the first 100 bytes from each,
// which end in the long line. The open files keep the rest of it, but no more than maxKept together.
// Each goes on where it was.
func TestKeptLines(t *testing.T) {
	w := longLine(t)
	table := w.Table("t")
	all := w.read(table.Cursor(), 1<<20)
	var open []*Cursor
	kept := 0
	for range 3 * maxKept / len(all) {
		c := table.Cursor()
		if n, err := c.ReadAt(make([]byte, 100), 0); n != 100 || err != nil {
			t.Fatal(n, err)
		}
		kept += len(c.rest)
		open = append(open, c)
	}
	if most := maxKept + pageSize*len(open); kept > most || kept < maxKept-len(all) {
		t.Errorf("%d open files keep %d bytes, want up to %d", len(open), kept, most)
	}
	for _, i := range []int{len(open) - 1, 0} { // the last keeps nothing until the first is at its end
		c, text := open[i], all[:100:100]
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
	if n := table.module.kept.Load(); n != 0 {
		t.Errorf("%d bytes are counted after all files were closed", n)
	}
}

// TestLongLineWhileChanging: the pieces of a long line are of one moment.
func TestLongLineWhileChanging(t *testing.T) {
	w := longLine(t)
	table := w.Table("t")
	all := w.read(table.Cursor(), 1<<20)
	all = all[:bytes.LastIndex(all, []byte("src="))] // two lines
	c := table.Cursor()
	text := make([]byte, len(all)+1)
	for at := 0; at < len(all); {
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
	if n := table.module.kept.Load(); n != 0 {
		t.Errorf("%d bytes are counted after the end", n)
	}
}
