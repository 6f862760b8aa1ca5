package recent

import (
	"bytes"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// Cursor is one open file's place in a table: the kernel's seq_file. It
// remembers which slot comes next, so that a whole dump walks the table once,
// and an entry that stays in the table during it appears exactly once. Any
// number of goroutines may read from one cursor.
type Cursor struct {
	t *Table

	mu   sync.Mutex
	pos  int64  // guarded by mu: where in the file rest starts
	rest []byte // guarded by mu: lines that are formed but not yet read
	buf  []byte // guarded by mu: the memory of rest
	next uint32 // guarded by mu: the first slot that was not looked at
	raw  []byte // guarded by mu: slots as copied out of the table
}

const (
	// pageSize is the room for whole lines that seq_read_iter starts with.
	pageSize = 4096
	// During one hold of a table's lock a cursor copies at most copyBytes of
	// slots and looks at no more than scanSlots: a few microseconds.
	copyBytes = 8 << 10
	scanSlots = 256
)

// Cursor opens the table for reading from its start.
func (t *Table) Cursor() *Cursor { return &Cursor{t: t, next: 1} }

// ReadAt fills p from position pos of the lines and returns the number of
// bytes, 0 at the end. It fills p as seq_read_iter does: with whole lines
// where p holds a page or more, else up to the brim. A position other than
// where the last read ended, or 0, forms the lines anew from the first
// (traverse). The only error is EIO, once the table is gone.
func (c *Cursor) ReadAt(p []byte, pos int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pos == 0 || pos != c.pos {
		c.pos, c.rest, c.next = 0, nil, 1
	}
	for c.pos < pos {
		more, err := c.form(1)
		if err != nil || !more {
			return 0, err
		}
		c.read(int(min(int64(len(c.rest)), pos-c.pos)))
	}
	for len(c.rest) < len(p) {
		more, err := c.form(len(p) - len(c.rest))
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
	}
	n := copy(p, c.rest)
	if n < len(c.rest) && n >= pageSize {
		if i := bytes.LastIndexByte(p[:n], '\n'); i >= 0 {
			n = i + 1
		}
	}
	c.read(n)
	return n, nil
}

// read takes the first n bytes of rest as read.
func (c *Cursor) read(n int) {
	c.rest = c.rest[n:]
	c.pos += int64(n)
}

// form appends the lines of the next entries to rest, as many as it takes to
// be sure of want bytes or as one hold of the lock allows, and at least one.
// It reports false at the end of the table.
func (c *Cursor) form(want int) (bool, error) {
	if len(c.rest) == 0 {
		c.rest = c.buf[:0]
	}
	ring, err := c.copy(want)
	if err != nil {
		return false, err
	}
	for raw := c.raw; len(raw) > 0; {
		s := (*slot)(unsafe.Pointer(&raw[0]))
		stamps := unsafe.Slice((*jiffies.Jiffies)(unsafe.Pointer(&raw[slotHead])), s.inUse(ring))
		c.rest = appendLine(c.rest, s, stamps)
		raw = raw[slotHead+uintptr(len(stamps))*8:]
	}
	c.buf = c.rest
	return len(c.raw) > 0, nil
}

// copy copies the next slots that hold an entry into raw and returns the ring
// size of the table.
func (c *Cursor) copy(want int) (ring uint32, err error) {
	c.raw = c.raw[:0]
	for done := false; !done && err == nil; {
		ring, done, err = c.copySome(want)
	}
	return ring, err
}

// copySome looks at up to scanSlots slots under one hold of the table's lock.
// It is not done while neither an entry nor the end of the table was met.
func (c *Cursor) copySome(want int) (ring uint32, done bool, err error) {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead {
		return 0, true, errGone
	}
	for last := c.next + scanSlots; c.next <= t.used && c.next < last; c.next++ {
		s := t.slot(c.next)
		if s.family == 0 {
			continue
		}
		at := t.slots + uintptr(c.next)*t.stride
		c.raw = append(c.raw, t.mem[at:at+slotHead+uintptr(s.inUse(t.ring))*8]...)
		want -= longestLine(int(s.nstamps))
		if want <= 0 || len(c.raw) >= copyBytes {
			c.next++
			return t.ring, true, nil
		}
	}
	return t.ring, len(c.raw) > 0 || c.next > t.used, nil
}

// longestLine is no less than the length of any line with that many stamps.
func longestLine(stamps int) int {
	return len("src=0000:0000:0000:0000:0000:0000:0000:0000 ttl: 255 last_seen: 18446744073709551615 oldest_pkt: 65535\n") +
		stamps*len(", 18446744073709551615")
}

// appendLine forms an entry's line: recent_seq_show. stamps are those in use.
func appendLine(b []byte, s *slot, stamps []jiffies.Jiffies) []byte {
	b = append(b, "src="...)
	a := s.addr.bytes()
	if s.family == unix.NFPROTO_IPV4 {
		b = appendAddr4(b, a[:4])
	} else {
		b = appendAddr6(b, &a)
	}
	b = append(b, " ttl: "...)
	b = strconv.AppendUint(b, uint64(s.ttl), 10)
	b = append(b, " last_seen: "...)
	b = strconv.AppendUint(b, uint64(stamps[s.latest(uint32(len(stamps)))]), 10)
	b = append(b, " oldest_pkt: "...)
	b = strconv.AppendUint(b, uint64(s.index), 10)
	for i, stamp := range stamps[:s.nstamps] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(stamp), 10)
	}
	return append(b, '\n')
}

// appendAddr4 is the kernel's %pI4.
func appendAddr4(b, a []byte) []byte {
	for i, v := range a {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// appendAddr6 is the kernel's %pI6: eight words of four digits.
func appendAddr6(b []byte, a *[16]byte) []byte {
	const digits = "0123456789abcdef"
	for i, v := range a {
		if i > 0 && i%2 == 0 {
			b = append(b, ':')
		}
		b = append(b, digits[v>>4], digits[v&15])
	}
	return b
}
