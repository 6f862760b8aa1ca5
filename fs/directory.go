package fs

import (
	"cmp"
	"slices"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// directory is one of the file system's directories.
//
// Its number is the upper half of its node's number and of those of the files
// in it. Numbers are never used again, so that whatever the kernel still knows
// of a directory that is gone leads nowhere. The lower half is 1 for the
// directory itself, which makes the root fuse.FUSE_ROOT_ID, and for a table's
// file it is the table's ID plus 1: there is no table with an ID of 2^32.
type directory struct {
	number uint64
	name   string
	reg    *recent.Registry         // whose tables it shows; nil where there are none
	attr   recent.Attr              // guarded by filesystem.mu
	files  map[uint64]*recent.Table // guarded by filesystem.mu: by node, those that were looked up
}

const (
	rootNumber = 0
	nsNumber   = 1
	// selfNode is the symbolic link "self" in a root without tables.
	selfNode = fuse.FUSE_ROOT_ID + 1

	nsName = "ns"
	// SelfName is the symbolic link that leads each process to the tables of
	// its own network namespace.
	SelfName = "self"
)

func newDirectory(number uint64, name string) *directory {
	return &directory{
		number: number, name: name,
		attr:  recent.Attr{Perms: 0o555},
		files: make(map[uint64]*recent.Table),
	}
}

// fill gives the directory a new registry, whose tables it shows from now on.
func (d *directory) fill(fs *filesystem, module *recent.Module) *recent.Registry {
	d.reg = module.NewRegistry(func(e recent.Event) { fs.changed(d, e) })
	return d.reg
}

// node is the directory's own node.
func (d *directory) node() uint64 { return d.number<<32 | 1 }

// fileNode is the node of a table's file.
func (d *directory) fileNode(t *recent.Table) uint64 { return d.node() + t.ID() }

// Folder is the path, below the mount, of a folder that Mountpoint.Add makes.
func Folder(name string) string { return nsName + "/" + name }

// directory is the one that a node is, or that it is in, or nil where that is
// gone. fs.mu is held.
func (fs *filesystem) directory(node uint64) *directory { return fs.dirs[node>>32] }

// directoryAt is the directory that a node is; where it is none, why not.
// fs.mu is held.
func (fs *filesystem) directoryAt(node uint64) (*directory, fuse.Status) {
	d := fs.directory(node)
	switch {
	case d == nil:
		return nil, fuse.Status(unix.ESTALE)
	case d.node() != node:
		return nil, fuse.ENOTDIR
	}
	return d, fuse.OK
}

// file is the table of a node, or nil where it is gone. fs.mu is held.
func (fs *filesystem) file(node uint64) *recent.Table {
	if d := fs.directory(node); d != nil {
		return d.files[node]
	}
	return nil
}

// addDirectory makes a folder in ns for a new registry, which is nil where the
// name is taken.
func (fs *filesystem) addDirectory(name string, module *recent.Module) *recent.Registry {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.named[name] != nil {
		return nil
	}
	fs.lastDir++
	d := newDirectory(fs.lastDir, name)
	fs.dirs[d.number], fs.named[name] = d, d
	return d.fill(fs, module)
}

// removeDirectory removes a folder of ns. The kernel is told to distrust what
// it knows of the node; asked about it, we answer ESTALE, and it looks the name
// up again, see changed.
func (fs *filesystem) removeDirectory(name string) {
	fs.mu.Lock()
	d := fs.named[name]
	if d != nil {
		delete(fs.dirs, d.number)
		delete(fs.named, name)
	}
	fs.mu.Unlock()
	if d != nil {
		fs.distrust(d.node())
	}
}

// entries are what a directory holds, as it is now. fs.mu is held.
func (fs *filesystem) entries(d *directory) (list []fuse.DirEntry) {
	switch {
	case d.reg != nil:
		for _, t := range d.reg.Tables() {
			list = append(list, fuse.DirEntry{Ino: d.fileNode(t), Mode: unix.S_IFREG, Name: t.Name()})
		}
	case d.number == rootNumber:
		list = []fuse.DirEntry{
			{Ino: fs.dirs[nsNumber].node(), Mode: unix.S_IFDIR, Name: nsName},
			{Ino: selfNode, Mode: unix.S_IFLNK, Name: SelfName},
		}
	default:
		for _, folder := range fs.named {
			list = append(list, fuse.DirEntry{Ino: folder.node(), Mode: unix.S_IFDIR, Name: folder.name})
		}
		// As procfs lists directories: proc_match.
		slices.SortFunc(list, func(a, b fuse.DirEntry) int {
			return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
		})
	}
	return list
}

// has tells whether a directory holds a name. fs.mu is held.
func (fs *filesystem) has(d *directory, name string) bool {
	switch {
	case d.reg != nil:
		return d.reg.Table(name) != nil
	case d.number == rootNumber:
		return name == nsName || name == SelfName
	}
	return fs.named[name] != nil
}
