package recent

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

// TestReadAsSeqFile reads a table in pieces, empties it and reads on. seq_file has
// formed a line by then, unless the last read ended with a line that it began.
func TestReadAsSeqFile(t *testing.T) {
	const entries = 100
	fill := func(w *world) *Cursor {
		for i := range entries {
			if err := w.write("t", fmt.Sprintf("+10.1.0.%d", 100+i)); err != nil {
				w.Fatal(err)
			}
		}
		return w.Table("t").Cursor()
	}
	w := newWorld(t, nil, Classic)
	w.rule(Info{CheckSet: Set})
	line := len(w.read(fill(w), 4096)) / entries
	page := (pageSize - 1) / line * line // as many lines as fit into its buffer
	for _, c := range []struct {
		name  string
		sizes []int
		want  []int // what each read gives
		rest  int   // what is left after the table was emptied
	}{
		{"nothing", nil, nil, 0},
		{"a line and no bytes", []int{line, 0}, []int{line, 0}, 0},
		{"a piece", []int{1}, []int{1}, line - 1},
		{"a line", []int{line}, []int{line}, 0},
		{"a line in pieces", []int{1, line - 1}, []int{1, line - 1}, line},
		{"a line in pieces and one more", []int{1, line - 1, line}, []int{1, line - 1, line}, line},
		{"a piece, and then up to a line's end", []int{1, 2*line - 1}, []int{1, 2*line - 1}, 0},
		{"the last line in pieces", []int{1, line*entries/2 - 1, line * entries, 1}, []int{1, line*entries/2 - 1, line * entries / 2, 0}, 0},
		{"a page", []int{pageSize}, []int{page}, 0},
		{"a little less than a page", []int{page + 1}, []int{page}, 0},
		{"a piece and a page", []int{1, pageSize}, []int{1, pageSize}, line - (pageSize+1)%line},
		{"a piece and more than a page", []int{1, pageSize + line - 1}, []int{1, page + line - 1}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := w.write("t", "/"); err != nil {
				t.Fatal(err)
			}
			cursor, pos := fill(w), int64(0)
			for i, size := range c.sizes {
				n, err := cursor.ReadAt(make([]byte, size), pos)
				if n != c.want[i] || err != nil {
					t.Errorf("a read of %d at %d gives %d, %v, want %d", size, pos, n, err, c.want[i])
				}
				pos += int64(n)
			}
			if err := w.write("t", "/"); err != nil {
				t.Fatal(err)
			}
			if n, err := cursor.ReadAt(make([]byte, pageSize), pos); n != c.rest || err != nil {
				t.Errorf("after the table was emptied: %d, %v, want %d", n, err, c.rest)
			}
		})
	}
}

// TestReadOfAFullPage reads a page where lines fill it to its last byte. seq_file's
// buffer must have room for one byte more (seq_has_overflowed), so that the last of
// these lines is left to the next read.
func TestReadOfAFullPage(t *testing.T) {
	const page = 4096 // PAGE_SIZE
	w := newWorld(t, nil, Classic)
	set := w.rule(Info{CheckSet: Set})
	size, last := 0, 0
	add := func(src string, stamps int) {
		for range stamps {
			w.arrives(set, src, 64)
		}
		all := len(w.read(w.Table("t").Cursor(), 1<<20))
		size, last = all, all-size
	}
	add("10.1.0.99", 1)
	for i := 0; page-size >= 2*last; i++ {
		add(fmt.Sprint("10.1.0.", 100+i), 1)
	}
	const stamp = len(", 1000")
	short := len("src=1.1.1.1 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000\n")
	more := page - size - short
	add([]string{"1.1.1.1", "1.1.1.10", "1.1.1.100", "1.1.10.100", "1.1.100.100", "1.10.100.100"}[more%stamp], 1+more/stamp)
	if size != page {
		t.Fatalf("the lines have %d bytes, want %d", size, page)
	}
	add("10.1.0.1", 1)
	for _, c := range []struct{ size, want int }{{page, 0}, {page + 1, page}} {
		n, err := w.Table("t").Cursor().ReadAt(make([]byte, c.size), 0)
		if c.want == 0 {
			c.want = page - (short + more)
		}
		if n != c.want || err != nil {
			t.Errorf("a read of %d gives %d, %v, want %d", c.size, n, err, c.want)
		}
	}
}

// TestReadOfWhatIsGone begins a line, whose rest is kept, and removes the table. The
// next read fails all the same: proc_reg_read does not get to seq_file.
func TestReadOfWhatIsGone(t *testing.T) {
	w := newWorld(t, nil, Classic)
	set := w.rule(Info{CheckSet: Set})
	w.arrives(set, "192.0.2.1", 64)
	c := w.Table("t").Cursor()
	if n, err := c.ReadAt(make([]byte, 10), 0); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	w.Destroy(set)
	if n, err := c.ReadAt(make([]byte, 10), 10); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Errorf("a read of a table that is gone: %d, %v", n, err)
	}
}
