package recent

import (
	"bytes"
	"fmt"
	"testing"
)

// TestPlace reads a table by one cursor after the other, each of which goes on where
// the one before was, as if another process had made it. Entries that stay come once,
// whatever happens to the others.
func TestPlace(t *testing.T) {
	for _, size := range []int{1, 7, 100, 4096, 1 << 16} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.ListTot = 1000 }, Modern)
			set := w.rule(Info{CheckSet: Set})
			for i := range 300 {
				w.arrives(set, fmt.Sprintf("192.0.%d.%d", i/100, i%100), 64)
			}
			table := w.Table("t")
			want := w.read(table.Cursor(), 1<<16)
			var text []byte
			buf := make([]byte, size)
			for place := (Place{}); ; {
				c := table.CursorAt(place, nil)
				n, err := c.ReadAt(buf, int64(len(text)))
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				text = append(text, buf[:n]...)
				place = c.Place()
				c.Close()
			}
			if !bytes.Equal(text, want) {
				t.Errorf("%d bytes, want %d, or others", len(text), len(want))
			}
		})
	}
}

// TestPlaceWhileChanging removes the entries that were read, and adds others.
func TestPlaceWhileChanging(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.ListTot = 1000 }, Modern)
	set := w.rule(Info{CheckSet: Set})
	for i := range 600 {
		w.arrives(set, fmt.Sprintf("192.0.%d.%d", i/100, i%100), 64)
	}
	table := w.Table("t")
	buf := make([]byte, 5000)
	seen, at := 0, int64(0)
	for place := (Place{}); ; {
		c := table.CursorAt(place, nil)
		n, err := c.ReadAt(buf, at)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		at += int64(n)
		for line := range bytes.Lines(buf[:n]) {
			var i, j int
			if _, err := fmt.Sscanf(string(line), "src=192.0.%d.%d ttl", &i, &j); err != nil || i*100+j != seen {
				t.Fatalf("a line %q, where the next is the %d-th", line, seen)
			}
			w.must(fmt.Sprintf("-192.0.%d.%d", i, j))
			seen++
		}
		place = c.Place()
	}
	if seen != 600 {
		t.Errorf("%d entries", seen)
	}
}
