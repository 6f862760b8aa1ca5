// Package namespaces finds network namespaces, tells them apart, runs functions
// inside them and notices when they come and go. It does for a process what
// pernet operations (net/core/net_namespace.c) do for a kernel module, as far as
// a process can.
//
// The kernel does not announce namespaces to processes. A process can only watch
// the places where it finds a namespace: a name, which is a mount in Directory
// (ip-netns(8)), another path, or a process. Here a namespace comes and goes
// with its place, even while processes still run inside it.
package namespaces

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Directory holds a mount for each namespace that has a name.
const Directory = "/run/netns"

// ID identifies a namespace by the device and inode of its file. The kernel may
// reuse the inode of a namespace that is gone, but not while a process holds the
// namespace open.
type ID struct{ Dev, Ino uint64 }

// String formats the ID as readlink(2) shows a process's namespace.
func (id ID) String() string { return fmt.Sprintf("net:[%d]", id.Ino) }

// own returns the namespace of this process.
func own() (ID, error) { return identify(ownPath) }

const (
	ownPath    = "/proc/self/ns/net"        // of the process's main thread
	threadPath = "/proc/thread-self/ns/net" // of the calling thread
)

func identify(path string) (ID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return ID{uint64(st.Dev), st.Ino}, nil
}

// Namespace is an open network namespace. It exists at least until Close.
type Namespace struct {
	id   ID
	file *os.File
}

// Open opens the namespace at a path.
func Open(path string) (*Namespace, error) {
	// O_NONBLOCK: a FIFO without a writer must not block us.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return of(f, path)
}

// Held is the namespace of a file that File returned, maybe in another process. It has
// the file.
func Held(f *os.File) (*Namespace, error) { return of(f, f.Name()) }

func of(f *os.File, path string) (*Namespace, error) {
	var st unix.Stat_t
	if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		f.Close()
		return nil, fmt.Errorf("%s is no network namespace", path)
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return &Namespace{ID{uint64(st.Dev), st.Ino}, f}, nil
}

// reopenInside opens the namespace again from inside and closes the first file.
// That file belongs to the mount of the namespace's name and keeps the mount
// busy, so that umount(8) could not remove the name.
func (n *Namespace) reopenInside() error {
	var inside *os.File
	err := n.Do(func() (err error) {
		inside, err = os.Open(threadPath)
		return err
	})
	if err != nil {
		n.Close()
		return err
	}
	n.file.Close()
	n.file = inside
	return nil
}

// File is the namespace's file, for as long as it is not closed.
func (n *Namespace) File() *os.File { return n.file }

// ID identifies the namespace.
func (n *Namespace) ID() ID { return n.id }

// Close closes the namespace's file.
func (n *Namespace) Close() error { return n.file.Close() }

// Enter moves the calling thread into the namespace and leaves it there. The
// caller must hold runtime.LockOSThread. Enter needs CAP_SYS_ADMIN.
func (n *Namespace) Enter() error {
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %v: %w: run as root", n.id, err)
	}
	return nil
}

// Do runs f inside the namespace, on a new thread that ends when f returns, so
// that no other code runs there by accident. Sockets and files of
// /proc/thread-self/net that f opens belong to the namespace.
func (n *Namespace) Do(f func() error) error {
	err := errors.New("the function did not return")
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		if unix.Gettid() == os.Getpid() {
			// Not on the main thread: it would not end, and /proc/self shows its
			// namespace. While this goroutine holds the main thread, the next
			// goroutine gets another one.
			defer runtime.UnlockOSThread()
			err = n.Do(f)
			return
		}
		if entered := n.Enter(); entered != nil {
			err = entered
			return
		}
		err = f()
	}()
	<-done
	return err
}
