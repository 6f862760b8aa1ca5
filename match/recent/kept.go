package recent

import (
	"bytes"
	"sync/atomic"
)

const (
	// maxKept bounds what all open files keep of long lines, and maxKeptOf what those of
	// one user keep of all lines: see keep.
	maxKept   = 16 << 20
	maxKeptOf = 8 << 20
)

// Kept counts the bytes of lines that the open files of one user keep.
type Kept struct{ bytes atomic.Int64 }

// take counts n more, up to most.
func (k *Kept) take(n, most int64) bool {
	if k.bytes.Add(n) > most {
		k.bytes.Add(-n)
		return false
	}
	return true
}

// give takes back what take counted. k may be nil.
func (k *Kept) give(n int64) {
	if k != nil {
		k.bytes.Add(-n)
	}
}

// keep keeps the end of a line for the next read, so that a line that is read in
// pieces is all of one moment. The kernel's seq_file keeps it too, in memory that
// counts as the reader's. Ours is the daemon's, and a user may have thousands of
// open files. So it is kept only while the open files of the user keep no more than
// maxKeptOf, and what is longer than a page only while all open files keep no more than
// maxKept of that. After that keep returns false, and the next read forms the line
// again: if the entry changed in between, the pieces do not fit together, as after a
// seek. c.mu is held.
func (c *Cursor) keep(rest []byte) bool {
	n := int64(len(rest))
	if n == 0 {
		return true
	}
	if c.of != nil && !c.of.take(n, maxKeptOf) {
		return false
	}
	if n > pageSize && !c.t.module.kept.take(n, maxKept) {
		c.of.give(n)
		return false
	}
	c.rest, c.kept = bytes.Clone(rest), n
	return true
}

// drop forgets what keep kept. c.mu is held.
func (c *Cursor) drop() {
	c.of.give(c.kept)
	if c.kept > pageSize {
		c.t.module.kept.give(c.kept)
	}
	c.rest, c.kept = nil, 0
}
