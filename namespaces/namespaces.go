// Package namespaces finds network namespaces, tells them apart, runs functions
// inside them and notices when they come and go: what pernet operations are to
// a module of the kernel (net/core/net_namespace.c), as far as a process can
// have it.
//
// The kernel tells nobody about its namespaces. What can be watched is where a
// namespace is to be found: a name, which is a mount in Directory
// (ip-netns(8)), some other path, or a process. A namespace is taken to come
// and go with that, even if processes are still inside of it.
package namespaces

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Directory holds a mount for each namespace that has a name.
const Directory = "/run/netns"

// ID tells namespaces apart: the device and inode of their files. The kernel
// uses an inode again once a namespace is gone, which it is not as long as
// somebody has it open.
type ID struct{ Dev, Ino uint64 }

// String is how readlink(2) shows the namespace of a process.
func (id ID) String() string { return fmt.Sprintf("net:[%d]", id.Ino) }

// Of is the namespace of a process or thread. Looking at another user's needs
// CAP_SYS_PTRACE (proc_ns_readlink).
func Of(pid int) (ID, error) { return identify(processPath(strconv.Itoa(pid))) }

// MaySee tells whether Of may look at any process's.
func MaySee() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	err := unix.Capget(&header, &sets[0])
	return err == nil && sets[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}

// Own is the namespace of this process.
func Own() (ID, error) { return identify(ownPath) }

const ownPath = "/proc/self/ns/net"

func processPath(pid string) string { return "/proc/" + pid + "/ns/net" }

func identify(path string) (ID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return ID{uint64(st.Dev), st.Ino}, nil
}

// Namespace is an open network namespace, which lives at least as long.
type Namespace struct {
	id   ID
	file *os.File
}

// Open opens the namespace that a path leads to.
func Open(path string) (*Namespace, error) {
	// Nobody need be at the other end of what is but a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
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

// letGo opens the namespace once more, from inside, and gives up the file that
// it was opened by: that would keep its mount busy, and umount(8) from taking a
// name away.
func (n *Namespace) letGo() error {
	var inside *os.File
	err := n.Do(func() (err error) {
		inside, err = os.Open("/proc/thread-self/ns/net")
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

// ID is the same for every Namespace that is the same one.
func (n *Namespace) ID() ID { return n.id }

// Close gives the namespace up.
func (n *Namespace) Close() error { return n.file.Close() }

// Enter moves the calling thread into the namespace, for good: the caller has
// locked it (runtime.LockOSThread). It needs CAP_SYS_ADMIN.
func (n *Namespace) Enter() error {
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %v: %w: run as root", n.id, err)
	}
	return nil
}

// Do runs f inside the namespace, on a thread of its own that ends with it, so
// that nothing else ever runs there by accident. Sockets and files of
// /proc/thread-self/net that f opens are the namespace's.
func (n *Namespace) Do(f func() error) error {
	err := errors.New("the function did not return")
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		if unix.Gettid() == os.Getpid() {
			// The main thread would not end, and /proc/self is what it is in.
			// While it is held here, another takes this on.
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
