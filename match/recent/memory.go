package recent

import (
	"os"

	"golang.org/x/sys/unix"
)

// memory is where a table's region lives: one mapping of zeroes that starts at
// a page. It is not Go's memory, so that the garbage collector never walks it
// and it goes back to the machine at once.
type memory struct{ bytes []byte }

// anonymousMemory maps size bytes. Pages that nobody wrote to cost nothing.
func anonymousMemory(size uint64) (memory, error) {
	bytes, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	return memory{bytes}, err
}

// preferHugePages asks for large pages from now on.
func (m memory) preferHugePages() {
	// An old kernel may not know it: then the pages stay small.
	_ = unix.Madvise(m.bytes, unix.MADV_HUGEPAGE)
}

// zero sets all bytes after the first keep bytes to 0, and gives the pages back.
// keep is less than a page.
func (m memory) zero(keep int) {
	page := min(os.Getpagesize(), len(m.bytes))
	clear(m.bytes[keep:page])
	// It is a mapping of ours: it can fail only where nothing comes after the page.
	_ = unix.Madvise(m.bytes[page:], unix.MADV_DONTNEED)
}

// release gives the mapping back, if there is one.
func (m memory) release() {
	if m.bytes != nil {
		// It is a mapping of ours: there is nothing that could fail.
		_ = unix.Munmap(m.bytes)
	}
}
