package fs

import (
	"sync"
	"sync/atomic"

	"recentfs/match/recent"
)

// handle is one open file.
//
// The kernel keeps the position of a FUSE file itself: it moves it by the length
// that a read or a write took, and sends it with each request. In procfs the
// module moves the position, and it does not after "/". So a handle remembers both
// positions after the last request that did something. A request at the kernel's
// position continues at procfs's. Any other request comes after a seek, or from
// pread or pwrite, and is for its own position.
//
// The kernel sends a write to an O_APPEND file with the position where it believes
// the end to be, which says nothing. procfs ignores O_APPEND: there a write
// continues after the last request in any case.
//
// Some cases look the same. pread and pwrite look like a seek before a read or a
// write (procfs refuses pwrite). A seek to the kernel's position after "/" looks
// like no seek. A seek between two writes to an O_APPEND file is not visible, so
// that the second write gets ESPIPE. For io_uring see repeats.
type handle struct {
	table *recent.Table

	// shrank says that the kernel believes in a size of 0 because of this file: see
	// filesystem.restoreSize.
	shrank atomic.Bool

	mu        sync.Mutex
	kernelPos int64          // guarded by mu: the kernel's position after the last request
	procPos   int64          // guarded by mu: the position that procfs would have then
	cursor    *recent.Cursor // guarded by mu: made by the first read
	repeats   repeats        // guarded by mu
}

// toProc returns procfs's position for a request at off. h.mu is held.
func (h *handle) toProc(off int64) int64 {
	if off == h.kernelPos {
		return h.procPos
	}
	return off
}

// read fills p from the kernel's position off, and returns the length. thread is
// whose request it is.
func (h *handle) read(p []byte, off int64, thread uint32) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cursor == nil {
		h.cursor = h.table.Cursor()
	}
	pos := h.toProc(off)
	place, err := h.repeats.place(off, thread)
	switch {
	case err != nil:
		return 0, err
	case place == furtherPiece:
		return h.cursor.ReadAt(p, off)
	case place == atPosition:
		pos = h.procPos
	}
	n, err := h.cursor.ReadAt(p, pos)
	if err != nil {
		return 0, err
	}
	h.repeats.note(off, len(p), n)
	h.kernelPos, h.procPos = off+int64(n), pos+int64(n)
	return n, nil
}

// write writes data at the kernel's position off, and returns the length that the
// table took.
func (h *handle) write(data []byte, off int64, appends bool) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	pos := h.toProc(off)
	if appends {
		pos = h.procPos
	}
	n, next, err := h.table.Write(data, pos)
	if err != nil {
		return 0, err
	}
	h.kernelPos, h.procPos = off+int64(n), next
	return n, nil
}

// close gives back the memory that the reads keep. The kernel sends no request for
// the handle after this.
func (h *handle) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cursor != nil {
		h.cursor.Close()
	}
}
