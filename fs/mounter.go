package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hanwen/go-fuse/v2/fuse"

	"recentfs/fs/device"
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
	// Sites mounts and unmounts. If it is nil, this process does.
	Sites Sites
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
	ns.path = filepath.Join(m.site.Dir, nsName)
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
	if k.Sites == nil {
		k.Sites = OwnSites{}
	}
	m, err := k.adopt(dir, kind)
	if m == nil {
		m = &Mountpoint{sites: k.Sites, anew: err}
		if m.site, err = k.Sites.Find(dir); err != nil {
			return nil, err
		}
		if k.Keep {
			if err := m.keep(kind); err != nil {
				return nil, errors.Join(err, m.giveUp())
			}
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
		if m.memory != nil {
			m.memory.Close()
		}
		return nil, errors.Join(err, m.giveUp())
	}
	return m, nil
}

// giveUp removes what was made for a mount that could not be.
func (m *Mountpoint) giveUp() error {
	_, err := m.sites.Detach(&m.site, true)
	return err
}

// keep gets memory that outlives the process.
func (m *Mountpoint) keep(kind uint32) (err error) {
	if m.memory, err = device.NewMemory(keptSize); err != nil {
		return fmt.Errorf("mount point %s: %w", m.site.Dir, err)
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
	put(m.kept.dir[:], m.site.Dir)
	m.kept.dead, m.kept.created = int64(m.site.Dead), int64(len(m.site.Created))
	m.memory.SetDev(m.site.Dev)
}

// adopt goes on with the mount of a process before. Without one it returns nil.
func (k Mounter) adopt(dir string, kind uint32) (*Mountpoint, error) {
	if len(k.Left) == 0 {
		return nil, nil
	}
	conn, dev, err := device.Adopt(k.Left, keptSize)
	if err != nil {
		err = fmt.Errorf("mount point %s: the mount of the process before: %w", dir, err)
		return nil, errors.Join(err, k.Sites.Abandon(dev, dir))
	}
	m := &Mountpoint{sites: k.Sites, conn: conn, memory: conn.Memory(), kept: keptIn(conn.Memory().Area()), waits: true, goesOn: true}
	if err = m.adopt(dir, kind, dev); err != nil {
		err = fmt.Errorf("mount point %s: the mount of the process before: %w", dir, err)
		conn.Close()
		m.memory.Close()
		return nil, errors.Join(err, k.Sites.Abandon(dev, dir))
	}
	return m, nil
}

// adopt finds the mount that the process before has left.
func (m *Mountpoint) adopt(dir string, kind uint32, dev uint64) (err error) {
	if err := m.kept.check(kind); err != nil {
		return err
	}
	site, err := m.sites.Find(dir)
	if err != nil {
		return err
	}
	if was := text(m.kept.dir[:]); was != site.Dir {
		return fmt.Errorf("it is on %s", was)
	}
	site.Created = nil
	for above := site.Dir; len(site.Created) < int(m.kept.created) && above != "/"; above = filepath.Dir(above) {
		site.Created = append(site.Created, above)
	}
	site.Dead, site.Dev = int(m.kept.dead), dev
	m.site = site
	// Somebody may have unmounted it: then what is open on it works.
	if there, err := m.isThere(); err != nil || there {
		return err
	}
	return m.mount()
}

// Abandon ends the mount of a process before, whose Files those are, and takes it away.
// They are closed.
func Abandon(sites Sites, left []*os.File) error {
	dev, _ := mountOf(left)
	return sites.Abandon(dev, "")
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
		return fmt.Errorf("mount point %s: %w", m.site.Dir, err)
	}
	m.answering.Store(m.conn)
	return nil
}

// Leave ends the answering and leaves the mount to the next process. What was asked
// before is answered, and who asks waits. Answer may go on. It must not be called at the
// same time as Restore, Unmount or Answer.
func (m *Mountpoint) Leave() error {
	m.waits = true
	if err := m.conn.Leave(); err != nil {
		return fmt.Errorf("mount point %s: %w", m.site.Dir, err)
	}
	return nil
}
