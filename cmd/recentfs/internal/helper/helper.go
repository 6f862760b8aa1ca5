// Package helper does what needs the privileges of root: it mounts the tables, covers
// /proc/net, and opens what only root may open, in other network namespaces too.
//
// A recentfs that root started by hand does this by itself: Own. The service does not
// have these privileges, nor a view of the machine's mounts. It asks a helper: another
// process, which systemd starts when somebody connects to its socket. Connect asks, and
// Serve answers. Own and Client do the same, and the daemon does not know which one it
// has.
//
// Whoever has got into the daemon can ask the helper for anything. So a request only
// chooses among the directories, namespaces and files that the helper's own command line
// allows (Allowed). The helper refuses all others.
//
// A request is an object of JSON, and so is its answer. Each side sends one and closes
// its direction. Descriptors come with either. Each request has a connection of its own, so that none
// waits for another: a mount takes long while another recentfs is asked whether it
// lives, and those who follow the link "self" wait for an answer too.
package helper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"recentfs/capture/nfqueue"
	"recentfs/fs"
	"recentfs/fs/procnet"
	"recentfs/namespaces"
)

// Host is the machine, for what needs privileges.
type Host interface {
	fs.Sites

	// Cover puts the tables in the place of /proc/net/xt_recent. With goesOn it goes on
	// with the cover that a process before has left.
	Cover(goesOn bool) error
	// Uncover takes away the cover of this recentfs, and that of a dead one.
	Uncover() error
	// RestoreCover covers again what somebody has uncovered, and tells whether somebody
	// has.
	RestoreCover() (restored bool, err error)
	// RefreshCover adds to the cover what the kernel has added to /proc/net.
	RefreshCover() error

	// Present are the selected network namespaces that exist now.
	Present() ([]namespaces.Found, error)
	// Watch calls changed when a mount comes or goes, or a namespace, until stop.
	Watch(changed func()) (stop func(), err error)
	// Hold opens one of them, which then exists at least until the file is closed.
	Hold(f namespaces.Found) (*os.File, error)
	// QueueSocket opens a socket for a queue in one of them, which Hold has opened. Its
	// name is not touched: whoever opens that keeps others from unmounting it.
	QueueSocket(f namespaces.Found, held *os.File) (nfqueue.Socket, error)
	// NetnsOf is the network namespace of a process.
	NetnsOf(pid int) (namespaces.ID, error)
	// CheckProcesses says for which processes NetnsOf has no answer.
	CheckProcesses() error

	// Open opens a file that only root may open.
	Open(f File) (*os.File, error)
	// Close ends the use of the machine. What was mounted stays.
	Close()
}

// File is a file that only root may open.
type File string

// The files that Open opens.
const (
	// TimerList shows the kernel's jiffies.
	TimerList File = "/proc/timer_list"
	// KernelLog takes lines for the kernel's log.
	KernelLog File = "/dev/kmsg"
)

var flags = map[File]int{TimerList: os.O_RDONLY, KernelLog: os.O_WRONLY}

// Allowed is what a Host may do.
type Allowed struct {
	Mountpoint string   // of the tables
	Netns      []string // the network namespaces, as namespaces.Select parses them
	ProcNet    bool     // covers /proc/net
	KernelLog  bool     // opens it
}

// equals tells whether two allow the same.
func (a *Allowed) equals(b *Allowed) bool {
	return filepath.Clean(a.Mountpoint) == filepath.Clean(b.Mountpoint) && slices.Equal(a.Netns, b.Netns) && a.ProcNet == b.ProcNet && a.KernelLog == b.KernelLog
}

// check refuses a mount point that has directories above it, but for the next one, which
// are not root's: their owner could put links in the place of others below them.
func (a *Allowed) check() error {
	for dir := filepath.Dir(filepath.Dir(filepath.Clean(a.Mountpoint))); ; dir = filepath.Dir(dir) {
		var stat unix.Stat_t
		err := unix.Lstat(dir, &stat)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("mount point %s: %w", a.Mountpoint, &os.PathError{Op: "stat", Path: dir, Err: err})
		}
		if err == nil && (stat.Uid != 0 || stat.Mode&unix.S_IFMT != unix.S_IFDIR) {
			return fmt.Errorf("mount point %s: %s is not a directory of root: choose another, by --mountpoint", a.Mountpoint, dir)
		}
		if dir == "/" || dir == "." {
			return nil
		}
	}
}

// dirs are the directories to mount on.
func (a *Allowed) dirs() []string { return []string{a.Mountpoint, fs.ModuleDir(a.Mountpoint)} }

// Own is the machine for a process that has the privileges itself.
type Own struct {
	fs.OwnSites
	allowed   Allowed
	selection *namespaces.Selection
	cover     *procnet.Cover // nil without a cover
}

// NewOwn finds the network namespaces. It does nothing that is not allowed.
func NewOwn(a Allowed) (*Own, error) {
	selection, err := namespaces.Select(a.Netns)
	if err != nil {
		return nil, err
	}
	return &Own{allowed: a, selection: selection}, nil
}

// Close implements Host.
func (o *Own) Close() { o.selection.Close() }

// module is the directory of our module's mount, as links to it name it.
func (o *Own) module() (string, error) {
	site, err := o.Find(fs.ModuleDir(o.allowed.Mountpoint))
	return site.Dir, err
}

// otherModule is the directory of the module of another recentfs that has covered
// /proc/net and lives, or empty.
func otherModule(ours string) string {
	other := procnet.Module()
	if other == ours || !fs.IsLive(other) {
		return ""
	}
	return other
}

// Cover implements Host.
func (o *Own) Cover(goesOn bool) error {
	if !o.allowed.ProcNet {
		return errors.New("it is not allowed: give the helper --proc-net too")
	}
	module, err := o.module()
	if err != nil {
		return err
	}
	if other := otherModule(module); other != "" {
		return fmt.Errorf("another recentfs, which serves %s, has taken /proc/net: stop that first", other)
	}
	if goesOn {
		if o.cover, err = procnet.Adopt(fs.ModuleFiles(module)); err != nil || o.cover != nil {
			return err
		}
	}
	o.cover, err = procnet.Mount(fs.ModuleFiles(module))
	return err
}

// Uncover implements Host.
func (o *Own) Uncover() error {
	module, err := o.module()
	if err != nil || otherModule(module) != "" {
		return err
	}
	o.cover = nil
	return procnet.Unmount()
}

// RestoreCover implements Host.
func (o *Own) RestoreCover() (restored bool, err error) {
	if o.cover == nil {
		return false, nil
	}
	return o.cover.Restore()
}

// RefreshCover implements Host.
func (o *Own) RefreshCover() error {
	if o.cover == nil {
		return nil
	}
	return o.cover.Refresh()
}

// Present implements Host.
func (o *Own) Present() ([]namespaces.Found, error) { return o.selection.Present() }

// Watch implements Host.
func (o *Own) Watch(changed func()) (stop func(), err error) { return o.selection.Watch(changed) }

// Hold implements Host.
func (o *Own) Hold(f namespaces.Found) (*os.File, error) {
	if err := o.mayEnter(f); err != nil {
		return nil, err
	}
	ns, err := f.Open()
	if err != nil {
		return nil, err
	}
	return ns.File(), nil
}

// QueueSocket implements Host.
func (o *Own) QueueSocket(f namespaces.Found, held *os.File) (s nfqueue.Socket, err error) {
	if err := o.mayEnter(f); err != nil {
		return s, err
	}
	fd, err := unix.FcntlInt(held.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return s, fmt.Errorf("network namespace %s: dup: %w", f.Path, err)
	}
	ns, err := namespaces.Held(os.NewFile(uintptr(fd), f.Path))
	if err != nil {
		return s, err
	}
	defer ns.Close()
	if ns.ID() != f.ID || !f.IsThere() {
		return s, namespaces.ErrGone
	}
	err = ns.Do(func() (err error) { s, err = nfqueue.OpenSocket(); return err })
	return s, err
}

func (o *Own) mayEnter(f namespaces.Found) error {
	if !o.selection.CouldSelectPath(f.Path) {
		return fmt.Errorf("network namespace %s is not allowed: give the helper --netns too", f.Path)
	}
	return nil
}

// NetnsOf implements Host.
func (o *Own) NetnsOf(pid int) (namespaces.ID, error) { return namespaces.Of(pid) }

// CheckProcesses implements Host.
func (o *Own) CheckProcesses() error { return namespaces.CheckProcesses() }

// Open implements Host.
func (o *Own) Open(f File) (*os.File, error) {
	if f == KernelLog && !o.allowed.KernelLog {
		return nil, errors.New("it is not allowed: give the helper --log-packets kmsg too")
	}
	flag, known := flags[f]
	if !known {
		return nil, fmt.Errorf("%s is no file for the helper to open", f)
	}
	return os.OpenFile(string(f), flag, 0)
}
