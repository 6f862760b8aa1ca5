// Package device is the /dev/fuse connection: it opens the device, agrees with
// the kernel on the protocol, answers requests from a loop of its own, and tells
// the kernel what it should no longer believe.
//
// go-fuse parses requests, and its RawFileSystem answers them. Its
// ProtocolServer, which lets another loop call it, is marked experimental: this
// package is the only one that touches it, and go-fuse's own Serve is the way
// back.
//
// A connection may outlive its process: Memory, Adopt, Leave.
//
// # Nothing waits in a circle
//
// A thread that waits in the kernel for an answer which only this process can
// give hangs for good when the process is killed: it keeps the device open, so
// that the kernel does not end the connection either. These rules keep that away:
//
//   - One goroutine always reads requests. It answers by itself only what it can
//     answer at once (isQuick); before anything else it hands the reading over.
//     So each request is taken, whatever the others wait for.
//   - Signals starve no request. The kernel hands out an INTERRUPT before any
//     request, and sends it again as long as the answer is EAGAIN, which is what
//     go-fuse answers for a request that it has finished: a process with a timer
//     of 1 ms kept the loop busy with nothing else. The answer to an INTERRUPT is
//     ENOSYS, upon which the kernel sends no more. Nobody misses them: every
//     answer is made at once, and there is nothing that could be broken off.
//   - A notification is sent by a goroutine that does not read, and that holds no
//     lock which an answer needs. Distrust takes no lock of the page cache.
//     RaiseSize has to lock a page of it, and a READ of that page would hold the
//     lock until it is answered. But every reader of the page cache stops at the
//     size that the kernel believes in, and RaiseSize stores beyond all sizes that
//     it ever believed in. Only a READ that begins in the instant between the
//     raising of the size and the locking of the page could hold it, and it would
//     have to guess which of 4096 pages it will be. One call is under way at a
//     time: Conn.raising is held meanwhile, which no answer to a READ needs.
//   - No thread of this process opens a file below its own mounts, or asks
//     anything of them by path.
package device

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	path = "/dev/fuse"
	// MaxRead is the largest READ, in bytes, and the largest WRITE. The kernel
	// takes no larger ones (FUSE_MAX_MAX_PAGES). It splits a longer read. One by
	// io_uring it splits into READs that come all at once, and after the first one
	// with a short answer it throws the others away. They cost much, since each is
	// for another place in the table.
	MaxRead = 1 << 20
)

// Conn is a connection to the kernel.
type Conn struct {
	ended  chan struct{} // closed when the mount has ended
	memory *Memory       // outlives the process; nil if the connection does not

	// What the kernel said in INIT, if it did: its opcode is not 0 then. Only the
	// goroutine that calls Serve and Leave uses this and what follows.
	init    fuse.InitIn
	adopted bool     // a process before has served it
	lost    []uint64 // the requests that it may not have answered

	serving atomic.Pointer[loop] // nil before Serve and after Leave; set by that goroutine

	// inUse is held for reading by each notification and while fd is copied, and for
	// writing while fd is closed.
	inUse sync.RWMutex
	fd    int // -1 when closed; guarded by inUse

	raising sync.Mutex    // serialises RaiseSize, so that one thread waits at most
	size    atomic.Uint64 // see believed; not in use where there is memory
}

// Open opens the device, for New.
func Open() (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, openError(err)
	}
	if err := checkDevice(fd); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// New is a connection by a descriptor of the device, which it closes at its end. A
// connection that is not served is to be closed. With memory it outlives the process, if
// somebody holds its Files. memory is for one connection at a time.
func New(fd int, memory *Memory) *Conn {
	if memory != nil {
		memory.begin()
	}
	return &Conn{fd: fd, memory: memory, ended: make(chan struct{})}
}

// openError says what to do about a device that cannot be opened.
func openError(err error) error {
	next := "try again"
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		next = "load the kernel's module (modprobe fuse), or give the container the device (--device " + path + ")"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		next = "run as root, and in a container with the device allowed (--device " + path + ")"
	}
	return fmt.Errorf("open %s: %w: %s", path, err, next)
}

// checkDevice refuses a file that is not the device: mount(2) would only say
// EINVAL.
func checkDevice(fd int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	// MISC_MAJOR and FUSE_MINOR of the kernel.
	if fuse := unix.Mkdev(10, 229); stat.Mode&unix.S_IFMT == unix.S_IFCHR && stat.Rdev == fuse {
		return nil
	}
	kind := "another device"
	if stat.Mode&unix.S_IFMT != unix.S_IFCHR {
		kind = "a plain file"
	}
	return fmt.Errorf("this is not the FUSE device but %s: remove it and make the device (mknod %s c 10 229), or give the container the device (--device %s)", kind, path, path)
}

// Mount attaches the connection of a descriptor of the device to a directory. Since Linux 5.15 it
// can do so again, as long as open files or another mount keep the mounted file system
// (fuse_get_tree).
func Mount(fd int, dir, source, fsType string) error {
	if err := checkDevice(fd); err != nil {
		return err // it comes from another process
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,allow_other,default_permissions",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), MaxRead)
	return unix.Mount(source, dir, fsType, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data)
}

// Device is a copy of the device's descriptor, for Mount. The caller closes it.
func (c *Conn) Device() (int, error) {
	c.inUse.RLock()
	defer c.inUse.RUnlock()
	fd, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate the descriptor of %s: %w", path, err)
	}
	return fd, nil
}

// Close closes a connection. It must not be called while it is served.
func (c *Conn) Close() {
	c.inUse.Lock()
	defer c.inUse.Unlock()
	unix.Close(c.fd)
	c.fd = -1
}

// Options are the mount options for every connection.
func Options() *fuse.MountOptions {
	return &fuse.MountOptions{
		MaxWrite:           MaxRead,
		DisableXAttrs:      true,
		DisableReadDirPlus: true, // its answers would expire as Lookup's do
		DisableSplice:      true,
		// CAP_ASYNC_DIO is for io_uring. Without it fuse_direct_IO returns a short
		// answer at once and does not move the position, upon which io_read fills
		// the rest of the buffer with what is at the same position.
		ExtraCapabilities: fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_ASYNC_DIO,
		// go-fuse logs answers that nobody waits for any more.
		Logger:       log.New(io.Discard, "", 0),
		PanicHandler: reportPanic,
	}
}

// reportPanic turns a panic of a request into that request's error.
func reportPanic(v any) fuse.Status {
	log.Printf("fs: a request failed, please report this: %v\n%s", v, debug.Stack())
	return fuse.EIO
}

// Serve answers the requests of a connection that has been mounted. It returns
// when the kernel has agreed on the protocol, and answers until the mount has
// ended, after which it closes the connection, or until Leave. After an error the
// connection is closed. goFuseLoop answers by go-fuse's own loop: an echo takes more
// than twice as long then, signals can starve requests, and no other process goes on
// with the connection.
func (c *Conn) Serve(fs fuse.RawFileSystem, opts *fuse.MountOptions, goFuseLoop bool) error {
	if goFuseLoop {
		return c.serveByGoFuse(fs, opts)
	}
	isNew := c.init.Opcode != opInit
	if isNew {
		if err := c.readInit(); err != nil {
			c.Close()
			return fmt.Errorf("start FUSE: %w", err)
		}
	}
	l, answer := newLoop(c.fd, fs, opts, &c.init)
	if c.memory != nil {
		l.useMemory(c.memory)
	}
	if isNew {
		if err := answerInit(c.fd, answer); err != nil {
			c.Close()
			return fmt.Errorf("start FUSE: %w", err)
		}
	}
	c.answerLost()
	c.serving.Store(l)
	go func() {
		defer close(l.over)
		if l.run() {
			c.end()
		}
	}()
	return nil
}

// readInit reads the kernel's first request, which is there as soon as the connection
// is mounted.
func (c *Conn) readInit() error {
	b := make([]byte, requestSize)
	n, err := unix.Read(c.fd, b)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(c.fd, b)
	}
	if err != nil {
		return err
	}
	if n < headerIn || header(b).Opcode != opInit {
		return fmt.Errorf("the kernel's first request, of %d bytes, is no INIT", n)
	}
	// Kernels before Linux 5.17 send less.
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&c.init)), unsafe.Sizeof(c.init)), b[:n])
	c.init.Length = uint32(unsafe.Sizeof(c.init))
	if c.memory != nil {
		c.memory.shared.init = c.init
		c.memory.shared.agreed = 1
	}
	return nil
}

// answerInit answers it. An answer that is an error says that go-fuse does not know the
// kernel's protocol.
func answerInit(fd int, answer []byte) error {
	if out := (*fuse.OutHeader)(unsafe.Pointer(&answer[0])); out.Status != 0 {
		return fmt.Errorf("agree with the kernel: %w", unix.Errno(-out.Status))
	}
	_, err := unix.Write(fd, answer)
	return err
}

func (c *Conn) serveByGoFuse(fs fuse.RawFileSystem, opts *fuse.MountOptions) error {
	// go-fuse closes the descriptor that it is given.
	theirs, err := unix.FcntlInt(uintptr(c.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		c.Close()
		return fmt.Errorf("duplicate %s: %w", path, err)
	}
	server, err := fuse.NewServer(fs, fmt.Sprintf("/dev/fd/%d", theirs), opts)
	if err != nil {
		c.Close()
		return fmt.Errorf("start FUSE: %w", err)
	}
	go func() {
		server.Serve()
		c.end()
	}()
	return nil
}

// end closes a connection whose mount has ended.
func (c *Conn) end() {
	c.Close()
	close(c.ended)
	// A sync.Pool, and what it is a part of, stays until the second collection after
	// its last use. A connection has 3 MB. Where somebody unmounts all the time, each
	// collection would leave more than the one before.
	runtime.GC()
}

// Ended is closed when the mount has ended, by whomever, and all requests are
// answered.
func (c *Conn) Ended() <-chan struct{} { return c.ended }
