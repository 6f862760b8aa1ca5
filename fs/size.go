package fs

// The size that a table shows is 0, as in procfs. The kernel must believe in a
// larger one while somebody reads: Open says why.

// readers are a node's open files that are for reading.
type readers struct {
	open  int
	stats int // how often the size was raised for stat(2) since the last one opened
}

// maxStats bounds the pages that stat(2) leaves in the kernel's page cache. The
// next open drops them (fuse_open).
const maxStats = 64

// keepSize lets the kernel go on believing in the size that Open raised, while
// somebody reads. It answers stat(2) by what GetAttr says, but remembers nothing
// of that where it learns of another size meanwhile (fuse_change_attributes).
func (fs *filesystem) keepSize(node uint64, length int64) {
	fs.mu.Lock()
	r := fs.readers[node]
	raise := false
	if r != nil {
		r.stats++
		raise = r.stats <= maxStats
	}
	fs.mu.Unlock()
	switch {
	case raise:
		fs.conn.Load().RaiseSize(node, length)
	case r != nil:
		// No page, but the next open has to ask for the mode again.
		fs.conn.Load().Distrust(node)
	}
}

// restoreSize raises the size again for those who read, after the kernel learned
// of a size of 0 through h: by O_TRUNC, or by SEEK_END. It did so after our answer,
// so that this has to wait for the next request of h. A read by io_uring finds the
// end of the file in between. A goroutine of its own sends the notification: see
// the package comment of fs/device.
func (fs *filesystem) restoreSize(node uint64, h *handle) {
	if h.shrank.Load() && h.shrank.Swap(false) {
		fs.raiseSize(node, h)
	}
}

func (fs *filesystem) raiseSize(node uint64, h *handle) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.readers[node] != nil && h.table != nil {
		go fs.conn.Load().RaiseSize(node, h.table.MaxLength())
	}
}

// addReader counts an open file that is for reading. fs.mu is held.
func (fs *filesystem) addReader(node uint64) {
	r := fs.readers[node]
	if r == nil {
		r = new(readers)
		fs.readers[node] = r
	}
	r.open++
	r.stats = 0
}
