// Package fs shows the tables of a recent.Registry as files, one a table, with
// which programs that know /proc/net/xt_recent work unchanged.
//
// It follows fs/proc/generic.c, fs/proc/inode.c and fs/seq_file.c of the kernel
// for what procfs does with a file of xt_recent, and recent_mt_proc_write and
// recent_seq_ops by way of match/recent. Where FUSE forces a difference, the
// comment at the place says so, and the comparison with the live kernel in the
// tests lists it.
//
// Once the kernel knows a file, echo +ADDRESS > FILE costs three requests:
// OPEN, WRITE, RELEASE.
package fs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	fsName = "recentfs"
	fsType = "fuse." + fsName
	device = "/dev/fuse"
	// maxRead is the largest request, in bytes. The kernel splits a longer
	// read; of a write only the first 47 bytes matter.
	maxRead = 128 << 10
	// pollName is a file that go-fuse answers for by itself, and pollNode its
	// node.
	pollName = ".go-fuse-epoll-hack"
	pollNode = ^uint64(0)
	// copiesWait is how long a mount may take to end once it is unmounted.
	copiesWait = 300 * time.Millisecond
)

// Mountpoint is a mounted file system.
type Mountpoint struct {
	dir   string        // absolute, without symbolic links
	made  []string      // the directories that were made for it, innermost first
	hides []string      // the plain files in the directory under it
	dev   uint64        // the mounted file system's st_dev
	ended chan struct{} // closed when the mount has ended
}

// Mount mounts a folder on dir until Unmount, and returns when the mount answers.
// It needs CAP_SYS_ADMIN. A directory that is not there is made, and removed again
// when the mount ends. The mount takes the place of what a dead recentfs left
// mounted. Until then that stays, so that no write makes a plain file in the
// directory under it. An error leaves the directory as it was.
//
// When Registry.Check or Destroy returns, every path leads to the tables of that
// moment: a table that is gone is ENOENT, and one of the same name that was made
// since is a new file. A descriptor of a table that is gone gives EIO, as in
// procfs, but ESTALE to fstat and fchmod, which procfs still answers.
func Mount(dir string) (*Mountpoint, *Folder, error) {
	fs, folder := newFilesystem()
	m, err := newMountpoint(dir, fs)
	return m, folder, err
}

// MountNamespaces is Mount for several folders: dir holds the directory ns, with
// the folders that Namespaces.Add adds, and the symbolic link self, which leads
// each process where self says. self is called by many goroutines, with the ID of
// the process or thread that follows the link, or 0 where we cannot see that
// process. Its answer is relative to dir.
func MountNamespaces(dir string, self func(pid uint32) string) (*Mountpoint, *Namespaces, error) {
	fs, ns := newNamespaces(self)
	m, err := newMountpoint(dir, fs)
	if err != nil {
		return nil, nil, err
	}
	ns.path = filepath.Join(m.dir, nsName)
	return m, ns, nil
}

// Hidden are the names of plain files in the directory under the mount. Writers
// made them while nothing was mounted there.
func (m *Mountpoint) Hidden() []string { return m.hides }

// Dir is the path of the mount, absolute and without symbolic links.
func (m *Mountpoint) Dir() string { return m.dir }

// newMountpoint mounts a file system that answers.
func newMountpoint(dir string, fs fuse.RawFileSystem) (*Mountpoint, error) {
	m, err := prepare(dir)
	if err != nil {
		return nil, err
	}
	if err := m.serve(fs, options()); err != nil {
		m.removeMade()
		return nil, err
	}
	if err := m.detachDeadBelow(); err != nil {
		return nil, errors.Join(err, m.Unmount())
	}
	return m, nil
}

// serve mounts a file system and starts to answer for it. go-fuse would mount
// too, but leaves its descriptor of the device to every child process.
func (m *Mountpoint) serve(fs fuse.RawFileSystem, opts *fuse.MountOptions) error {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return deviceError(err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,allow_other,default_permissions",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxRead)
	if err := unix.Mount(fsName, m.dir, fsType, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		unix.Close(fd)
		return m.mountError(err)
	}
	server, err := fuse.NewServer(fs, fmt.Sprintf("/dev/fd/%d", fd), opts)
	if err != nil {
		unix.Unmount(m.dir, unix.MNT_DETACH)
		return fmt.Errorf("mount point %s: starting FUSE: %w", m.dir, err)
	}
	loop := newLoop(fd, fs, opts, server.KernelSettings())
	go func() {
		defer close(m.ended)
		loop.run()
		server.Serve() // finds the mount ended, and closes what NewServer opened
	}()
	if err := m.prime(); err != nil {
		unix.Unmount(m.dir, unix.MNT_DETACH)
		<-m.ended
		return fmt.Errorf("mount point %s does not answer: %w", m.dir, err)
	}
	return nil
}

func options() *fuse.MountOptions {
	return &fuse.MountOptions{
		MaxWrite:           maxRead,
		DisableXAttrs:      true,
		DisableReadDirPlus: true, // its answers would expire as Lookup's do
		DisableSplice:      true,
		ExtraCapabilities:  fuse.CAP_ATOMIC_O_TRUNC,
		// What go-fuse logs is about answers that nobody waits for any more.
		Logger:       log.New(io.Discard, "", 0),
		PanicHandler: reportPanic,
	}
}

// prime asks for what the kernel then need not ask any more: that there is no
// POLL, without which a poll from this very process could starve the server,
// that there are no extended attributes, and what the root is.
func (m *Mountpoint) prime() error {
	fd, err := unix.Open(filepath.Join(m.dir, pollName), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	unix.Close(fd)
	unix.Lgetxattr(m.dir, "security.capability", nil)
	var st unix.Stat_t
	if err := unix.Stat(m.dir, &st); err != nil {
		return err
	}
	m.dev = uint64(st.Dev)
	return nil
}

// reportPanic makes a panic of a request that request's error.
func reportPanic(v any) fuse.Status {
	log.Printf("fs: a request failed, please report this: %v\n%s", v, debug.Stack())
	return fuse.EIO
}

// Unmount ends the mount. Where it is in use, it is detached from its
// directory and the error is EBUSY: open files work until their last user is
// done or this process ends. So it is where another mount namespace has a copy
// of the mount that does not go with it, since its mounts are private. A mount
// that has ended already is no error.
func (m *Mountpoint) Unmount() error {
	err := m.unmount()
	m.detachDead()
	m.removeMade()
	return err
}

func (m *Mountpoint) unmount() error {
	select {
	case <-m.ended:
		return nil
	default:
	}
	mounts, err := mountsOn(m.dir)
	if err != nil {
		return fmt.Errorf("unmounting %s: %w", m.dir, err)
	}
	if len(mounts) == 0 {
		return nil // someone else detached it, and it is still in use
	}
	if top := mounts[0]; !m.is(top) {
		return fmt.Errorf("unmounting %s: %s is mounted over it: umount that first", m.dir, top.FSType)
	}
	err = unix.Unmount(m.dir, unix.UMOUNT_NOFOLLOW)
	switch {
	case err == nil:
		select {
		case <-m.ended:
		case <-time.After(copiesWait):
			err = fmt.Errorf("mount point %s has copies in other mount namespaces, as containers and 'recentfs exec' make them: they end with this process: %w", m.dir, unix.EBUSY)
		}
	case errors.Is(err, unix.EBUSY):
		if lazy := unix.Unmount(m.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); lazy != nil {
			return fmt.Errorf("detaching %s: %w", m.dir, lazy)
		}
		err = fmt.Errorf("mount point %s is in use: it was detached, and its open files work until this process ends: %w", m.dir, err)
	default:
		return fmt.Errorf("unmounting %s: %w", m.dir, err)
	}
	return err
}

// Wait returns when the mount has ended, by Unmount or by anyone's umount.
func (m *Mountpoint) Wait() { <-m.ended }

// removeMade removes the directories that prepare made, unless something else
// is in them by now.
func (m *Mountpoint) removeMade() {
	for _, dir := range m.made {
		if os.Remove(dir) != nil {
			return
		}
	}
}

// deviceError says what to do about a device that cannot be opened.
func deviceError(err error) error {
	next := "try again"
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		next = "load the kernel's module (modprobe fuse), or give the container the device (--device " + device + ")"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		next = "run as root, and in a container with the device allowed (--device " + device + ")"
	}
	return fmt.Errorf("open %s: %w: %s", device, err, next)
}

// mountError says what to do about a mount(2) that failed.
func (m *Mountpoint) mountError(err error) error {
	next := "choose another directory"
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		next = "run as root (CAP_SYS_ADMIN)"
	case errors.Is(err, unix.ENODEV):
		next = "this kernel has no FUSE: load its module (modprobe fuse)"
	}
	return fmt.Errorf("mount point %s: mount: %w: %s", m.dir, err, next)
}
