package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/fs/mountlist"
)

// Mounter mounts what may outlive this process. The zero Mounter mounts what ends with
// it, as Mount does.
type Mounter struct {
	// Keep has the mount outlive the process, as long as somebody holds its Files.
	Keep bool
	// Left are the Files of a process before, which is dead or has left. The new mount
	// goes on with that one: what is open on it stays open, and who asks waits until
	// Answer. If that cannot be, there is a new mount, and Anew says why. They are
	// closed in any case. Keep must be true.
	Left []*os.File
}

// Mount is Mount of this package.
func (k Mounter) Mount(dir string) (*Mountpoint, *Folder, error) {
	var folder *Folder
	m, err := k.mount(dir, folderKind, func(kept *kept) (fuse.RawFileSystem, *filesystem) {
		fs, root := newFilesystem(kept)
		folder = root
		return fs, fs
	})
	return m, folder, err
}

// MountNamespaces is MountNamespaces of this package.
func (k Mounter) MountNamespaces(dir string, self func(pid uint32) string) (*Mountpoint, *Namespaces, error) {
	var ns *Namespaces
	m, err := k.mount(dir, namespacesKind, func(kept *kept) (fuse.RawFileSystem, *filesystem) {
		fs, all := newNamespaces(self, kept)
		ns = all
		return fs, fs
	})
	if err != nil {
		return nil, nil, err
	}
	ns.path = filepath.Join(m.dir, nsName)
	return m, ns, nil
}

// MountModule is MountModule of this package.
func (k Mounter) MountModule(dir string, module Module) (*Mountpoint, error) {
	return k.mount(dir, moduleKind, func(kept *kept) (fuse.RawFileSystem, *filesystem) {
		return newModuleFS(module, kept), nil
	})
}

// mount mounts what build makes. tables is that where it shows tables, and otherwise nil.
func (k Mounter) mount(dir string, kind uint32, build func(*kept) (served fuse.RawFileSystem, tables *filesystem)) (*Mountpoint, error) {
	m, err := k.adopt(dir, kind)
	if m == nil {
		m = &Mountpoint{anew: err}
		if m.dir, err = m.findDir(dir); err == nil && k.Keep {
			err = m.keep(kind)
		}
		if err != nil {
			m.removeCreated()
			return nil, err
		}
	}
	m.served, m.fs = build(m.kept)
	if m.waits {
		if m.fs != nil {
			m.fs.conn.Store(m.conn)
		}
		return m, nil
	}
	if m.fs != nil {
		m.fs.settle()
	}
	if err := m.mount(); err != nil {
		m.removeCreated()
		if m.memory != nil {
			m.memory.Close()
		}
		return nil, err
	}
	return m, nil
}

// keep gets memory that outlives the process.
func (m *Mountpoint) keep(kind uint32) (err error) {
	if m.memory, err = device.NewMemory(keptSize); err != nil {
		return fmt.Errorf("mount point %s: %w", m.dir, err)
	}
	m.kept = keptIn(m.memory.Area())
	m.kept.version, m.kept.kind = keptVersion, kind
	return nil
}

// note notes for the next process where the mount is.
func (m *Mountpoint) note() {
	if m.kept == nil {
		return
	}
	put(m.kept.dir[:], m.dir)
	m.kept.dead, m.kept.created = int64(m.dead), int64(len(m.created))
	m.memory.SetDev(m.dev)
}

// adopt goes on with the mount of a process before. Without one it returns nil.
func (k Mounter) adopt(dir string, kind uint32) (*Mountpoint, error) {
	if len(k.Left) == 0 {
		return nil, nil
	}
	conn, dev, err := device.Adopt(k.Left, keptSize)
	if err != nil {
		err = fmt.Errorf("mount point %s: the mount of the process before: %w", dir, err)
		return nil, errors.Join(err, abandon(dev, dir))
	}
	m := &Mountpoint{conn: conn, memory: conn.Memory(), kept: keptIn(conn.Memory().Area()), dev: dev, waits: true, goesOn: true}
	if err = m.adopt(dir, kind); err != nil {
		err = fmt.Errorf("mount point %s: the mount of the process before: %w", dir, err)
		conn.Close()
		m.memory.Close()
		return nil, errors.Join(err, abandon(dev, dir))
	}
	return m, nil
}

// adopt finds the mount that the process before has left.
func (m *Mountpoint) adopt(dir string, kind uint32) (err error) {
	if err := m.kept.check(kind); err != nil {
		return err
	}
	if m.dir, err = m.findDir(dir); err != nil {
		return err
	}
	if was := text(m.kept.dir[:]); was != m.dir {
		return fmt.Errorf("it is on %s", was)
	}
	for above := m.dir; len(m.created) < int(m.kept.created); above = filepath.Dir(above) {
		m.created = append(m.created, above)
	}
	m.dead = int(m.kept.dead)
	// Somebody may have unmounted it: then what is open on it works.
	if there, err := m.isThere(); err != nil || there {
		return err
	}
	return m.mount()
}

// Abandon ends the mount of a process before, whose Files those are, and takes it away.
// They are closed.
func Abandon(left []*os.File) error {
	conn, dev, err := device.Adopt(left, keptSize)
	if err == nil {
		memory := conn.Memory()
		conn.Close()
		memory.Close()
	}
	return abandon(dev, "")
}

// abandon ends the connection of a file system that nobody will serve, so that nobody
// waits for it: somebody may still hold the descriptors. What is mounted on dir stays
// there, dead, until another mount takes its place.
func abandon(dev uint64, dir string) error {
	if dev == 0 {
		return nil
	}
	ours := Mountpoint{dev: dev}
	mounts, err := mountlist.Get(func(m *mountinfo.Info) (skip, stop bool) { return m.FSType != fsType || !ours.is(m), false })
	if err != nil {
		return err
	}
	for _, m := range mounts {
		// While this is open, the mount is busy, and only its connection ends.
		fd, err := unix.Open(m.Mountpoint, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Mountpoint, err)
		}
		err = unix.Unmount(m.Mountpoint, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW)
		unix.Close(fd)
		if real, _ := resolve(dir); m.Mountpoint != real && (err == nil || errors.Is(err, unix.EBUSY)) {
			err = unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmounting %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// Anew is why the mount does not go on with the one of a process before. It is nil if
// it does, or if there was none.
func (m *Mountpoint) Anew() error { return m.anew }

// GoesOn tells whether the mount was that of a process before.
func (m *Mountpoint) GoesOn() bool { return m.goesOn }

// Files are what the next process needs to go on with the mount: Mounter.Left. They are
// copies, which the caller closes. If the mount ended and Restore made another, that
// one has other files.
func (m *Mountpoint) Files() ([]*os.File, error) { return m.conn.Files() }

// Answer begins to answer on a mount of a process before, or after Leave. All tables
// that the process before had must be there again, since those that are not are gone:
// what is open of them fails. It does nothing on a mount that answers.
func (m *Mountpoint) Answer() error {
	if !m.waits {
		return nil
	}
	m.waits = false
	if m.fs != nil {
		m.fs.settle()
	}
	if err := m.conn.Serve(m.served, device.Options(), false); err != nil {
		return fmt.Errorf("mount point %s: %w", m.dir, err)
	}
	return nil
}

// Leave ends the answering and leaves the mount to the next process. What was asked
// before is answered, and who asks waits. Answer may go on. It must not be called at the
// same time as Restore, Unmount or Answer.
func (m *Mountpoint) Leave() error {
	m.waits = true
	if err := m.conn.Leave(); err != nil {
		return fmt.Errorf("mount point %s: %w", m.dir, err)
	}
	return nil
}
