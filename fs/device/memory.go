package device

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Unsafe memory in this file: the memory is mapped shared, starts at a page, is as
// long as its layout says, and stays mapped as long as the process lives. Nobody else
// writes to it while we do: the process before is dead, or has left. shared holds no
// pointer, and each of its fields is aligned.

// Memory is what outlives a process of a connection, in a file in memory (memfd). The
// next process needs it, and the connection's descriptor, to go on: Adopt.
//
// The file starts with shared. What the file system itself wants to keep is in the
// Area that follows.
type Memory struct {
	fd     int
	wake   int // an eventfd, which wakes a loop that shall end
	shared *shared
	area   []byte
}

// shared is the connection's own part. The first three are in the same place in each
// version.
type shared struct {
	magic   [8]byte
	version uint32
	agreed  uint32 // 1: the kernel has agreed on init
	dev     uint64 // the mounted file system's st_dev, 0: it is not mounted
	area    uint64 // how many bytes the Area has
	size    atomic.Uint64
	init    fuse.InitIn
	// The request in the buffer in needs nothing more if its number is answered, since
	// it is answered, or among slow. The kernel writes the request itself there, so that
	// there is no moment when nobody knows of it.
	answered uint64
	slow     [maxSlow]atomic.Uint64 // the numbers of requests that are at work; 0: none
	in       [requestSize]byte
}

const (
	memoryMagic = "rfs-fuse"
	// memoryVersion is that of shared, and of what the kernel is told in answer to INIT:
	// Options.
	memoryVersion = 1
	// maxSlow is how many requests at work are remembered for kernels that do not send
	// them again.
	maxSlow = 4096
)

// areaAt is where the Area starts: at a page.
const areaAt = (unsafe.Sizeof(shared{}) + pageSize - 1) &^ (pageSize - 1)

// NewMemory makes memory with an Area of that many bytes, which are 0.
func NewMemory(area int) (*Memory, error) {
	fd, err := unix.MemfdCreate("recentfs-mount", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	if err := unix.Ftruncate(fd, int64(areaAt)+int64(area)); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("memfd: ftruncate: %w", err)
	}
	m, err := mapMemory(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	m.shared.version, m.shared.area = memoryVersion, uint64(area)
	m.shared.magic = [8]byte([]byte(memoryMagic)) // last: all of it makes sense now
	return m, nil
}

// mapMemory maps a file whose length is that of shared or more.
func mapMemory(fd int) (*Memory, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	if stat.Size < int64(areaAt) {
		return nil, fmt.Errorf("memfd: it has %d bytes, less than %d", stat.Size, areaAt)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	bytes, err := unix.Mmap(fd, 0, int(stat.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(wake)
		return nil, fmt.Errorf("memfd: mmap: %w", err)
	}
	m := &Memory{fd: fd, wake: wake, shared: (*shared)(unsafe.Pointer(&bytes[0])), area: bytes[areaAt:]}
	m.touch()
	return m, nil
}

// touch has the kernel give memory to the start of the buffer in. If a page is not
// there when the kernel writes a request, and the process is killed at that moment,
// the kernel gives up, and whoever asks gets EIO.
func (m *Memory) touch() {
	for i := 0; i < 64<<10; i += pageSize {
		(*atomic.Uint32)(unsafe.Pointer(&m.shared.in[i])).Add(0)
	}
}

// check tells why this is not the memory of a connection that this program can go on
// with.
func (m *Memory) check(area int) error {
	switch s := m.shared; {
	case string(s.magic[:]) != memoryMagic:
		return fmt.Errorf("the memory begins with %q: it is no mount's", s.magic[:])
	case s.version != memoryVersion:
		return fmt.Errorf("the memory has version %d: this program knows version %d", s.version, memoryVersion)
	case s.area != uint64(area) || len(m.area) != area:
		return fmt.Errorf("the memory has %d bytes for the mount, %d are in its file: this program needs %d", s.area, len(m.area), area)
	case s.agreed != 1 || s.dev == 0:
		return errors.New("the process before ended before it had mounted")
	}
	return nil
}

// Dev is the mounted file system's st_dev, or 0.
func (m *Memory) Dev() uint64 { return m.shared.dev }

// SetDev says that the connection is mounted.
func (m *Memory) SetDev(dev uint64) { m.shared.dev = dev }

// Area is what the file system keeps.
func (m *Memory) Area() []byte { return m.area }

// begin makes the memory that of a new connection.
func (m *Memory) begin() {
	m.shared.agreed, m.shared.dev = 0, 0
	m.shared.size.Store(0)
	m.nothingLost()
}

// nothingLost says that each request is answered.
func (m *Memory) nothingLost() {
	m.shared.answered = header(m.shared.in[:]).Unique
	for i := range m.shared.slow {
		m.shared.slow[i].Store(0)
	}
}

// lost are the numbers of requests that the process before had taken, and may not have
// answered.
func (m *Memory) lost() (all []uint64) {
	if unique := header(m.shared.in[:]).Unique; unique != m.shared.answered {
		all = append(all, unique)
	}
	for i := range m.shared.slow {
		if unique := m.shared.slow[i].Load(); unique != 0 {
			all = append(all, unique)
		}
	}
	return all
}

// Close closes the file. What it holds stays mapped.
func (m *Memory) Close() {
	unix.Close(m.wake)
	unix.Close(m.fd)
}

// sort tells the device of a connection from its memory among two files. After an error
// device may be there.
func sort(files []*os.File) (device, memory *os.File, err error) {
	for _, f := range files {
		if checkDevice(int(f.Fd())) == nil {
			device = f
		} else {
			memory = f
		}
	}
	if len(files) != 2 || device == nil || memory == nil {
		err = fmt.Errorf("the %d descriptors are not %s and its memory", len(files), path)
	}
	return device, memory, err
}
