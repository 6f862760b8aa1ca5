// Package device is the /dev/fuse connection: it opens the device, agrees with
// the kernel on the protocol, answers requests from a loop of its own, and tells
// the kernel what it should no longer believe.
//
// go-fuse parses requests, and its RawFileSystem answers them. Its
// ProtocolServer, which lets another loop call it, is marked experimental: this
// package is the only one that touches it, and GoFuseLoop is the way back to
// go-fuse's own Serve.
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
//   - A notification is sent by a goroutine that does not read. Distrust takes
//     no lock of the page cache. RaiseSize has to lock a page of it, which a READ
//     may hold until it is answered; it stores into a page that nobody has read
//     and hardly anybody can guess, one call at a time, and its caller holds no
//     lock that an answer needs.
//   - No thread of this process opens a file below its own mounts, or asks
//     anything of them by path.
package device

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	path = "/dev/fuse"
	// MaxRead is the largest READ, in bytes: the kernel splits a longer one. It
	// is the largest WRITE too.
	MaxRead = 128 << 10
)

// GoFuseLoop makes connections that are served from now on use go-fuse's own
// loop instead of this package's. An echo then takes more than twice as long,
// and signals can starve requests.
var GoFuseLoop = false

// Conn is a connection to the kernel.
type Conn struct {
	ended chan struct{} // closed when the mount has ended

	// inUse is held for reading by each notification, and for writing while fd
	// is closed.
	inUse sync.RWMutex
	fd    int // -1 when closed; guarded by inUse

	raising sync.Mutex // serialises RaiseSize, so that one thread waits at most
	size    uint64     // guarded by raising: where the last byte was stored
}

// Open opens the device. A connection that is not served is to be closed.
func Open() (*Conn, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openError(err)
	}
	return &Conn{fd: fd, ended: make(chan struct{})}, nil
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

// MountData is the data argument of the mount(2) that attaches the connection
// to a directory.
func (c *Conn) MountData() string {
	return fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,allow_other,default_permissions",
		c.fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), MaxRead)
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
		ExtraCapabilities:  fuse.CAP_ATOMIC_O_TRUNC,
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
// ended, after which it closes the connection. After an error the connection is
// closed.
func (c *Conn) Serve(fs fuse.RawFileSystem, opts *fuse.MountOptions) error {
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
	run := func() {}
	if !GoFuseLoop {
		run = newLoop(c.fd, fs, opts, server.KernelSettings()).run
	}
	go func() {
		defer close(c.ended)
		run()
		server.Serve() // after our own loop it only finds the mount ended
		c.Close()
	}()
	return nil
}

// Ended is closed when the mount has ended, by whomever, and all requests are
// answered.
func (c *Conn) Ended() <-chan struct{} { return c.ended }
