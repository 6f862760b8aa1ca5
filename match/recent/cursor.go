package recent

import (
	"sync"
	"unsafe"

	"recentfs/match/jiffies"
)

// Cursor is one open file's place in a table: the kernel's seq_file. It
// remembers which slot comes next, so that a whole dump walks the table once,
// and an entry that stays in the table during it appears exactly once. Any
// number of goroutines may read from one cursor.
type Cursor struct {
	t  *Table
	of *Kept // what the user keeps whose cursor it is; nil: nobody counts it

	mu   sync.Mutex
	end  int64  // guarded by mu: where in the file the last read ended
	pos  int64  // guarded by mu: where in the file rest starts, or the line of slot next
	rest []byte // guarded by mu: the end of the last line, which no read has had yet; see keep
	kept int64  // guarded by mu: how long rest was at first
	next uint32 // guarded by mu: the next slot to look at

	// The line that rest is the end of: where in the file it starts, and its slot.
	linePos  int64  // guarded by mu
	lineSlot uint32 // guarded by mu

	layout *layout // guarded by mu: how next is meant; nil at the start
}

// scratch is the memory of a read. It does not stay with the open file: a user
// may have thousands of open files.
type scratch struct {
	text []byte // lines
	raw  []byte // slots as copied out of the table
	slot uint32 // the slot of the last line
	line int    // the length of the last line
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// AnswerSize is about how many bytes a read gives, which takes 20 us. The kernel's
// seq_read_iter gives a page. While our thread forms an answer, the thread that
// decides packets may have to wait for the processor.
const AnswerSize = 24 << 10

const (
	// pageSize is the room for whole lines that seq_read_iter starts with.
	pageSize = 4096
	// A cursor copies copyBytes of slots at a time, or one slot where that is
	// larger, and looks at no more than scanSlots. Mostly this takes a few
	// microseconds.
	copyBytes = 8 << 10
	scanSlots = 256
	// copyTries is how often it tries to copy without the table's lock. When
	// packets flood several queues, the table may change without a pause.
	copyTries = 3
)

// Cursor opens the table for reading from its start.
func (t *Table) Cursor() *Cursor { return &Cursor{t: t, next: 1} }

// ReadAt fills p from position pos of the lines and returns the number of
// bytes, 0 at the end: seq_read_iter. First it gives the rest of the line that
// the last read began. Then it forms lines, at least one, until they fill p. A
// line that does not fit into seq_file's buffer, a page, is left to the next read,
// so that where p has room for a page it gets whole lines. Here the buffer is as
// large as p, and the line that reaches AnswerSize is the last. At any other
// position than the end of the last read ReadAt forms the lines again from the
// first one (traverse). The only error is EIO, once the table is gone.
func (c *Cursor) ReadAt(p []byte, pos int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.t.Gone() {
		return 0, errGone
	}
	if len(p) == 0 {
		return 0, nil
	}
	if pos == c.end && len(p) < len(c.rest) {
		n := copy(p, c.rest)
		c.rest = c.rest[n:]
		c.pos += int64(n)
		c.end = c.pos
		return n, nil
	}
	w := scratches.Get().(*scratch)
	defer scratches.Put(w)
	w.text = append(w.text[:0], c.rest...)
	c.drop()
	if pos == 0 || pos != c.end {
		w.text = w.text[:0]
		c.end, c.pos, c.next = 0, 0, 1
	}
	for c.pos < pos {
		more, err := c.appendLines(w, 1)
		if err != nil || !more {
			return 0, err
		}
		skip := int(min(int64(len(w.text)), pos-c.pos))
		c.pos += int64(skip)
		w.text = append(w.text[:0], w.text[skip:]...)
		c.t.module.passed.Add(1)
	}
	if room := len(p) - len(w.text); room >= 0 {
		if err := c.fill(w, room); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.text)
	c.pos += int64(n)
	c.end = c.pos
	rest := w.text[n:]
	c.linePos, c.lineSlot = c.end+int64(len(rest)-w.line), w.slot
	if !c.keep(rest) {
		c.pos, c.next = c.linePos, c.lineSlot
	}
	return n, nil
}

// Place is where the last read of a cursor ended. It has no pointer.
type Place struct {
	end, pos int64
	next     uint32
	_        uint32
}

// Place is the cursor's place. A cursor of another process goes on there, as long as
// the table's slots keep their numbers: CursorAt. It forms the line anew that a read
// has had only a part of, as if keep had not kept the rest.
func (c *Cursor) Place() Place {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rest) > 0 {
		return Place{end: c.end, pos: c.linePos, next: c.lineSlot}
	}
	return Place{end: c.end, pos: c.pos, next: c.next}
}

// CursorAt opens the table for reading from a place, for a user. The zero Place is its
// start.
func (t *Table) CursorAt(p Place, of *Kept) *Cursor {
	return &Cursor{t: t, of: of, end: p.end, pos: p.pos, next: max(p.next, 1)}
}

// fill appends lines for room bytes to w.text. Where there is no room it appends
// one line, which the next read gives as it is now. c.mu is held.
func (c *Cursor) fill(w *scratch, room int) error {
	enough := min(room, AnswerSize)
	for begun := len(w.text); ; {
		more, err := c.appendLines(w, enough-(len(w.text)-begun))
		if err != nil || !more {
			return err
		}
		formed := len(w.text) - begun
		if formed >= max(room, pageSize) && formed > w.line {
			w.text = w.text[:len(w.text)-w.line]
			c.next = w.slot
		}
		if formed >= enough {
			return nil
		}
	}
}

// Close gives back the memory that the cursor keeps. No read may follow.
func (c *Cursor) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

// appendLines appends the lines of the next entries to w.text: enough for want
// bytes, or as many as are copied at a time, and at least one. It returns false
// at the end of the table.
func (c *Cursor) appendLines(w *scratch, want int) (bool, error) {
	var ring uint32
	for done := false; !done; {
		var err error
		if ring, done, err = c.copyEntries(w, want); err != nil {
			return false, err
		}
	}
	for raw := w.raw; len(raw) > 0; {
		s := (*slot)(unsafe.Pointer(&raw[0]))
		stamps := unsafe.Slice((*jiffies.Jiffies)(unsafe.Pointer(&raw[slotHead])), s.stampCount(ring))
		before := len(w.text)
		w.text = appendLine(w.text, s, stamps)
		w.line = len(w.text) - before
		raw = raw[slotHead+uintptr(len(stamps))*stampSize:]
	}
	return len(w.raw) > 0, nil
}

// copyEntries copies the next entries into w.raw, and returns the table's ring
// size. It looks at up to scanSlots slots. It is done when it met an entry or the
// end of the table.
//
// It copies without the table's lock, and again if the table changed meanwhile,
// as a reader of a seqcount_t does in the kernel. If it held the lock, a packet
// would wait for far longer than a copy takes: its thread would have to sleep and
// to be woken, and might have taken the processor from the reader.
//
// It reads the sequence count under the lock, before and after the copy.
// lockToChange increments the count, and a table that moves to another region
// takes its count along. So if the count is the same, nothing has changed.
func (c *Cursor) copyEntries(w *scratch, want int) (ring uint32, done bool, err error) {
	t := c.t
	t.copying.RLock()
	defer t.copying.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	for try := 0; !t.dead; try++ {
		c.follow(w)
		if try == copyTries {
			c.next, done = t.copySlots(w, c.next, t.header.used, want)
			return t.header.ring, done, nil
		}
		r, used, sequence := t.region, t.header.used, t.header.sequence
		t.mu.Unlock()
		next, done := r.copySlots(w, c.next, used, want)
		t.mu.Lock()
		if t.header.sequence == sequence {
			c.next = next
			return t.header.ring, done, nil
		}
	}
	return 0, true, errGone
}

// copySlots copies the entries of slots next to used into w.raw, with their
// stamps, and returns the next slot to look at. While the region changes it may
// copy nonsense, but only from within the region: a slot never has more stamps
// than the ring has places.
func (r *region) copySlots(w *scratch, next, used uint32, want int) (uint32, bool) {
	ring := r.header.ring
	w.raw = w.raw[:0]
	for last := next + scanSlots; next <= used && next < last; next++ {
		s := r.slot(next)
		if s.family == 0 {
			continue
		}
		w.raw = append(w.raw, unsafe.Slice((*byte)(unsafe.Pointer(s)), slotHead+uintptr(s.stampCount(ring))*stampSize)...)
		w.slot = next
		want -= longestLine(int(s.nstamps))
		if want <= 0 || len(w.raw) >= copyBytes {
			return next + 1, true
		}
	}
	return next, len(w.raw) > 0 || next > used
}
