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
//
// A mount may outlive its process: Mounter. What the next one needs is in memory that
// outlives it too: kept. The tables themselves are in that of match/recent.
package fs

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
)

const (
	fsName = "recentfs"
	fsType = "fuse." + fsName
	// copiesWait is how long a mount may take to end once it is unmounted.
	copiesWait = 300 * time.Millisecond
)

// goFuseLoop serves mounts by go-fuse's own loop instead of the one of fs/device.
// The tests run over both.
var goFuseLoop = false

// Mountpoint is a mounted file system.
type Mountpoint struct {
	fs     *filesystem // nil where it shows no tables
	served fuse.RawFileSystem
	sites  Sites
	site   Site
	conn   *device.Conn // the last one that was served

	answering atomic.Pointer[device.Conn] // the same, for AtWork

	memory *device.Memory // outlives the process; nil if the mount does not
	kept   *kept          // what is in it, or nil
	waits  bool           // for Answer
	goesOn bool           // it was that of a process before
	anew   error          // why it does not go on with the mount of a process before
}

// Mount mounts a folder on dir until Unmount, and returns when the mount answers.
// It needs CAP_SYS_ADMIN. A directory that is not there is made, and removed again
// when the mount ends. The mount takes the place of what a dead recentfs left
// mounted. Until then that stays, so that no write makes a plain file in the
// directory under it. The directory under a dead mount is not removed: nobody
// knows any more whether the dead recentfs made it or an administrator did, and an
// empty directory does no harm. An error leaves the directory as it was.
//
// When Registry.CheckAll or Destroy returns, every path leads to the tables of that
// moment: a table that is gone is ENOENT, and one of the same name that was made
// since is a new file. A descriptor of a table that is gone gives EIO, as in
// procfs, but ESTALE to fstat and fchmod, which procfs still answers.
func Mount(dir string) (*Mountpoint, *Folder, error) { return Mounter{}.Mount(dir) }

// MountNamespaces is Mount for several folders: dir holds the directory ns, with
// the folders that Namespaces.Add adds, and the symbolic link self, which leads
// each process where self says. self is called by many goroutines, with the ID of
// the process or thread that follows the link, or 0 where we cannot see that
// process. Its answer is relative to dir.
func MountNamespaces(dir string, self func(pid uint32) string) (*Mountpoint, *Namespaces, error) {
	return Mounter{}.MountNamespaces(dir, self)
}

// Hidden are the names of plain files in the directory under the mount, which
// writers seem to have made while nothing was mounted there.
func (m *Mountpoint) Hidden() []string { return m.site.Hidden }

// Dir is the path of the mount, absolute and without symbolic links.
func (m *Mountpoint) Dir() string { return m.site.Dir }

// mount mounts the file system and answers for it.
func (m *Mountpoint) mount() error {
	again, err := m.mountAgain()
	if err == nil && !again {
		err = m.serve(m.served, device.Options())
	}
	if err == nil {
		m.note()
	}
	return err
}

// serve mounts a file system and starts to answer for it.
func (m *Mountpoint) serve(fs fuse.RawFileSystem, opts *fuse.MountOptions) error {
	fd, err := m.sites.Attach(&m.site, -1)
	if err != nil {
		return err
	}
	if err := m.answer(fd, fs, opts); err != nil {
		return errors.Join(fmt.Errorf("mount point %s: %w", m.site.Dir, err), m.sites.Take(&m.site))
	}
	return nil
}

// answer starts to answer for a file system that is mounted.
func (m *Mountpoint) answer(fd int, fs fuse.RawFileSystem, opts *fuse.MountOptions) error {
	conn := device.New(fd, m.memory)
	if m.fs != nil {
		m.fs.connect(conn)
	}
	if err := conn.Serve(fs, opts, goFuseLoop); err != nil {
		return err
	}
	m.conn = conn
	m.answering.Store(conn)
	return nil
}

// Unmount ends the mount. Where the mount is in use, it is detached from its
// directory and the error is EBUSY: open files work until their last user closes
// them or this process ends. The error is EBUSY too where another mount namespace
// has a copy of the mount that stays, since its mounts are private. A mount that
// has ended already is no error. A mount that waits for Answer is left to whoever has
// its Files.
func (m *Mountpoint) Unmount() error {
	if m.waits {
		m.conn.Release()
		return nil
	}
	ended := isClosed(m.conn.Ended())
	unmounted, err := m.sites.Detach(&m.site, ended)
	if unmounted {
		select {
		case <-m.conn.Ended():
		case <-time.After(copiesWait):
			err = fmt.Errorf("mount point %s has copies in other mount namespaces, as containers and 'recentfs exec' make them, or files that were open when somebody unmounted it: they end with this process: %w", m.site.Dir, unix.EBUSY)
		}
	}
	if err == nil && m.memory != nil {
		m.memory.Close()
	}
	return err
}

// Ended is closed when the mount has ended, by Unmount or by anyone's umount.
// Restore may begin another.
func (m *Mountpoint) Ended() <-chan struct{} { return m.conn.Ended() }
