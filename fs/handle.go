package fs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"recentfs/fs/device"
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
	table     *recent.Table // nil: it is gone, and was so when this process began
	*keptOpen               // what of it outlives the process, if there is memory for that
	inRoom    bool          // open is one of filesystem.openRoom
	user      *user         // who opened it

	mu     sync.Mutex
	cursor *recent.Cursor // guarded by mu: made by the first read
}

// keptOpen is what of an open file may be in memory that outlives the process: kept. It
// has no pointer.
type keptOpen struct {
	fh     uint64 // its number; 0: the entry is free
	node   uint64
	opened uint64 // the number of the request that opened it
	reads  uint32 // 1: it was opened for reading
	uid    uint32 // who opened it

	// shrank says that the kernel believes in a size of 0 because of this file: see
	// filesystem.restoreSize.
	shrank atomic.Bool

	// Two moments: after the last request, and after the one before. If the process is
	// killed before it has answered the last one, that request comes again.
	current uint32    // which of the two is after the last; guarded by handle.mu
	moments [2]moment // guarded by handle.mu
}

// moment is an open file after a request.
type moment struct {
	request   uint64 // its number
	kernelPos int64  // the kernel's position
	procPos   int64  // the position that procfs would have then
	cursor    recent.Place
	repeats   repeats
}

// before is the moment before a request: after the last one, unless this is the last
// one and comes again. next is which of the two the one after it will be. h.mu is held.
func (h *handle) before(request uint64) (m moment, next uint32) {
	last := h.current & 1
	if first, again := device.IsResent(request); again && first == h.moments[last].request {
		return h.moments[last^1], last
	}
	return h.moments[last], last ^ 1
}

// after makes a moment the one after the last request. h.mu is held.
func (h *handle) after(m moment, request uint64, next uint32) {
	m.request, _ = device.IsResent(request)
	h.moments[next] = m
	h.current = next
}

// toProc returns procfs's position for a request at off.
func (m *moment) toProc(off int64) int64 {
	if off == m.kernelPos {
		return m.procPos
	}
	return off
}

// read fills p from the kernel's position off, and returns the length. thread is
// whose request it is, and request its number.
func (h *handle) read(p []byte, off int64, thread uint32, request uint64) (int, error) {
	if h.table == nil {
		return 0, unix.EIO
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	m, next := h.before(request)
	defer func() { h.after(m, request, next) }()
	if h.cursor == nil {
		h.cursor = h.table.CursorAt(m.cursor, &h.user.kept)
	}
	pos := m.toProc(off)
	place, err := m.repeats.place(off, thread)
	switch {
	case err != nil:
		return 0, err
	case place == furtherPiece:
		return h.cursor.ReadAt(p, off)
	case place == atPosition:
		pos = m.procPos
	}
	n, err := h.cursor.ReadAt(p, pos)
	if err != nil {
		return 0, err
	}
	m.cursor = h.cursor.Place()
	m.repeats.note(off, len(p), n)
	m.kernelPos, m.procPos = off+int64(n), pos+int64(n)
	return n, nil
}

// write writes data at the kernel's position off, and returns the length that the
// table took. A write that was done already, before it came again, is not done once
// more. noted is nil if nothing outlives the process.
func (h *handle) write(noted *recent.Written, data []byte, off int64, appends bool, request uint64) (int, error) {
	if h.table == nil {
		return 0, unix.EIO
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	m, which := h.before(request)
	pos := m.toProc(off)
	if appends {
		pos = m.procPos
	}
	first, again := device.IsResent(request)
	n, next, done := noted.Done(first)
	if !again || !done {
		var err error
		noted.Begin(first, h.node)
		if n, next, err = h.table.WriteNoted(noted, data, pos); err != nil {
			return 0, err
		}
	}
	m.kernelPos, m.procPos = off+int64(n), next
	h.after(m, request, which)
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
