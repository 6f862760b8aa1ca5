package fs

import (
	"iter"
	"slices"
	"sort"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// Folder is a directory with the tables of one registry. It learns of them by
// Update and never asks the registry.
type Folder struct {
	dirNode
	fs    *filesystem
	name  string
	files []*file          // guarded by filesystem.mu: by the table's ID
	named map[string]*file // guarded by filesystem.mu
}

// file is a table's file.
type file struct {
	*recent.Table
	made time.Time // its times
	kept *keptFile // nil if it is not known to the next process
}

func newFolder(fs *filesystem, number uint64, name string) *Folder {
	return &Folder{dirNode: fs.newDirNode(number, name), fs: fs, name: name, named: make(map[string]*file)}
}

// FolderPath is the path, below the mount, of the folder that Namespaces.Add
// makes.
func FolderPath(name string) string { return nsName + "/" + name }

// Update shows a table that came, or no longer shows one that is gone. It is for
// recent.Module.NewRegistry. A folder is for one registry.
//
// When a table came the kernel is told nothing, since it does not remember names
// that were not there. When a table is gone, the kernel is told to distrust the
// attributes that it keeps. Whatever it then asks about the node gets ESTALE,
// upon which it looks the name up again (LOOKUP_REVAL, as in path_openat and
// vfs_statx).
//
// Dropping the name from the kernel's cache would look simpler
// (FUSE_NOTIFY_INVAL_ENTRY), but it takes the directory's lock. A program that
// lists the directory into memory that does not answer holds that lock as long
// as it likes, and we would wait for it beyond the reach of any signal.
func (f *Folder) Update(e recent.Event) {
	if e.Gone {
		kept := f.drop(e.Table)
		f.fs.conn.Load().Distrust(f.fileID(e.Table))
		f.fs.mu.Lock()
		defer f.fs.mu.Unlock()
		f.fs.freeFile(kept) // not before: the next process tells the kernel if we cannot
		return
	}
	shown := &file{Table: e.Table, made: time.Now()}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if !shown.Gone() { // or the event that it is gone came first
		f.fs.keepFile(f, shown)
		f.files = slices.Insert(f.files, f.above(shown.ID()), shown)
		f.named[shown.Name()] = shown
	}
}

// drop no longer shows a table. It returns what the next process still knows of it.
func (f *Folder) drop(t *recent.Table) (kept *keptFile) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if i := f.above(t.ID() - 1); i < len(f.files) && f.files[i].Table == t {
		kept = f.files[i].kept
		f.files = slices.Delete(f.files, i, i+1)
	}
	if shown := f.named[t.Name()]; shown != nil && shown.Table == t {
		delete(f.named, t.Name())
	}
	return kept
}

// LastID is the largest ID of a table that was in the folder, in this process or in
// those before: recent.Registry.SkipIDs. Files of tables that are gone may still be
// open.
func (f *Folder) LastID() uint64 {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.kept == nil {
		return 0
	}
	return f.kept.lastTable
}

// above is the index of the first table with an ID above that one.
// filesystem.mu is held.
func (f *Folder) above(id uint64) int {
	return sort.Search(len(f.files), func(i int) bool { return f.files[i].ID() > id })
}

// fileID is the ID of the node of a table's file.
func (f *Folder) fileID(t *recent.Table) uint64 { return f.id() + t.ID() }

// file is the file of a node in the folder, or nil where its table is gone.
// filesystem.mu is held.
func (f *Folder) file(node uint64) *file {
	if i := f.above(node - f.id() - 1); i < len(f.files) && f.fileID(f.files[i].Table) == node {
		return f.files[i]
	}
	return nil
}

func (f *Folder) lookup(name string, out *fuse.EntryOut) bool {
	t := f.named[name]
	if t == nil {
		return false
	}
	out.NodeId = f.fileID(t.Table)
	fileAttr(&out.Attr, out.NodeId, t)
	return true
}

// list has the tables by ID. A table's position is its ID plus 2.
func (f *Folder) list(after uint64) iter.Seq2[uint64, fuse.DirEntry] {
	const base = firstPosition - 1 // IDs begin with 1
	return func(yield func(uint64, fuse.DirEntry) bool) {
		for _, t := range f.files[f.above(max(after, base)-base):] {
			if !yield(t.ID()+base, fuse.DirEntry{Ino: f.fileID(t.Table), Mode: unix.S_IFREG, Name: t.Name()}) {
				return
			}
		}
	}
}
