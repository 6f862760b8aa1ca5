package fs

import (
	"sync"

	"recentfs/match/recent"
)

// handle is one open file.
//
// The kernel keeps a FUSE file's position itself: it moves it by what a read
// or a write has taken, and sends the position with each request. procfs lets
// the module move it, and the module does not after "/". So a handle remembers
// where the last request that did something has left both positions. A request
// that begins where the kernel's position was left goes on from procfs's; any
// other comes after a seek (or from pread or pwrite), and its own position is
// meant.
//
// A file opened with O_APPEND is written where the kernel believes its end to
// be, which tells nothing, whereas procfs ignores O_APPEND: there a write goes
// on from the last request in any case.
//
// What this cannot tell apart: pread and pwrite look like a seek before a read
// or a write (procfs refuses pwrite), a seek to exactly where the kernel's
// position was left after "/" looks like going on, and a seek between two
// writes to an O_APPEND file is not seen, so that the second gets ESPIPE.
type handle struct {
	table *recent.Table

	mu     sync.Mutex
	kernel int64          // guarded by mu: the kernel's position after the last request ...
	proc   int64          // guarded by mu: ... and what it is in procfs
	cursor *recent.Cursor // guarded by mu: made by the first read
}

// at is the position in procfs's terms of a request at off. h.mu is held.
func (h *handle) at(off int64) int64 {
	if off == h.kernel {
		return h.proc
	}
	return off
}

// read fills p from off, as the kernel counts, and returns how much.
func (h *handle) read(p []byte, off int64) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cursor == nil {
		h.cursor = h.table.Cursor()
	}
	pos := h.at(off)
	n, err := h.cursor.ReadAt(p, pos)
	if err != nil {
		return 0, err
	}
	h.kernel, h.proc = off+int64(n), pos+int64(n)
	return n, nil
}

// write writes data at off, as the kernel counts, and returns how much of it
// was taken.
func (h *handle) write(data []byte, off int64, appends bool) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	pos := h.at(off)
	if appends {
		pos = h.proc
	}
	n, next, err := h.table.Write(data, pos)
	if err != nil {
		return 0, err
	}
	h.kernel, h.proc = off+int64(n), next
	return n, nil
}
