package fs

import (
	"fmt"
	"iter"
	"slices"
	"sort"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// directory is a kind of directory: a *Folder, a *namespacesRoot, or *Namespaces.
// filesystem.mu is held whenever a method is called.
type directory interface {
	// node is what all directories have.
	node() *dirNode
	// lookup fills in the entry of that name. It returns false where there is
	// none.
	lookup(name string, out *fuse.EntryOut) bool
	// list returns the entries with a position above that one, by position.
	list(after uint64) iter.Seq2[uint64, fuse.DirEntry]
}

// dirNode is a directory's node.
//
// Its number is the upper half of the ID of its node and of the IDs of the nodes
// in it. Numbers are never used again, so that whatever the kernel still knows
// of a directory that is gone leads nowhere. The lower half is 1 for the
// directory itself, which makes the root fuse.FUSE_ROOT_ID. For a table's file
// it is the table's ID plus 1: there is no table with an ID of 2^32-1.
type dirNode struct {
	number uint64
	made   time.Time   // its times
	attrs  recent.Attr // guarded by filesystem.mu
	kept   *keptDir    // nil if it is not known to the next process
}

const (
	rootNumber = 0
	nsNumber   = 1
	// selfID is the node of the symbolic link "self" of a namespacesRoot.
	selfID = fuse.FUSE_ROOT_ID + 1

	nsName = "ns"
	// SelfName is the symbolic link that leads each process to the tables of
	// its own network namespace.
	SelfName = "self"
)

func (d *dirNode) node() *dirNode { return d }

// id is the ID of the directory's node.
func (d *dirNode) id() uint64 { return d.number<<32 | 1 }

// attr fills in the attributes. filesystem.mu is held.
func (d *dirNode) attr(out *fuse.Attr) {
	out.Ino = d.id()
	out.Nlink = 2
	out.Blksize = dirBlockSize
	ownAttr(out, unix.S_IFDIR, d.attrs, d.made)
}

// entry fills in the answer to a lookup. filesystem.mu is held.
func (d *dirNode) entry(out *fuse.EntryOut) {
	out.NodeId = d.id()
	d.attr(&out.Attr)
}

// namespacesRoot is the root of a mount of several folders: it holds the
// directory ns and the link self.
type namespacesRoot struct {
	dirNode
	ns   *Namespaces
	self func(pid uint32) string // where the link leads a process
}

func (r *namespacesRoot) lookup(name string, out *fuse.EntryOut) bool {
	switch name {
	case nsName:
		r.ns.entry(out)
	case SelfName:
		out.NodeId = selfID
		r.selfAttr(&out.Attr)
	default:
		return false
	}
	return true
}

func (r *namespacesRoot) list(after uint64) iter.Seq2[uint64, fuse.DirEntry] {
	return func(yield func(uint64, fuse.DirEntry) bool) {
		const nsAt, selfAt = firstPosition, firstPosition + 1
		if after < nsAt && !yield(nsAt, fuse.DirEntry{Ino: r.ns.id(), Mode: unix.S_IFDIR, Name: nsName}) {
			return
		}
		if after < selfAt {
			yield(selfAt, fuse.DirEntry{Ino: selfID, Mode: unix.S_IFLNK, Name: SelfName})
		}
	}
}

// Namespaces is the directory ns, with a folder for each network namespace.
type Namespaces struct {
	dirNode
	fs      *filesystem
	path    string             // for errors
	folders []*Folder          // guarded by filesystem.mu: by number
	named   map[string]*Folder // guarded by filesystem.mu
	last    uint64             // guarded by filesystem.mu: the number of the newest
}

func (n *Namespaces) lookup(name string, out *fuse.EntryOut) bool {
	f := n.named[name]
	if f != nil {
		f.entry(out)
	}
	return f != nil
}

// list has the folders by number. A folder's position is its number plus 1.
func (n *Namespaces) list(after uint64) iter.Seq2[uint64, fuse.DirEntry] {
	const base = firstPosition - nsNumber - 1 // their numbers begin after that of ns
	return func(yield func(uint64, fuse.DirEntry) bool) {
		for _, f := range n.folders[n.above(max(after, base)-base):] {
			if !yield(f.number+base, fuse.DirEntry{Ino: f.id(), Mode: unix.S_IFDIR, Name: f.name}) {
				return
			}
		}
	}
}

// above is the index of the first folder with a number above that one.
func (n *Namespaces) above(number uint64) int {
	return sort.Search(len(n.folders), func(i int) bool { return n.folders[i].number > number })
}

// Add makes the folder ns/NAME. It fails where there is one of that name. Where a
// process before has left the folder, it is the same one.
func (n *Namespaces) Add(name string) (*Folder, error) {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if n.named[name] != nil {
		return nil, fmt.Errorf("%s: there is a folder %q already", n.path, name)
	}
	number, ok := n.fs.left.folder(name)
	if !ok {
		n.last++
		number = n.last
		if n.fs.kept != nil {
			n.fs.kept.lastFolder = number
		}
	}
	f := newFolder(n.fs, number, name)
	n.fs.dirs[f.number], n.named[name] = f, f
	n.folders = slices.Insert(n.folders, n.above(number), f)
	return f, nil
}

// Remove removes a folder that Add made. Descriptors of its tables work until
// the tables are gone. The kernel is told to distrust what it knows of the node.
// When it asks, we answer ESTALE, and it looks the name up again, see Update.
func (n *Namespaces) Remove(name string) {
	if f := n.remove(name); f != nil {
		n.fs.conn.Load().Distrust(f.id())
		n.fs.mu.Lock()
		defer n.fs.mu.Unlock()
		n.fs.freeDir(f.kept) // not before: the next process tells the kernel if we cannot
	}
}

// remove returns the folder that it removed, or nil.
func (n *Namespaces) remove(name string) *Folder {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	f := n.named[name]
	if f == nil {
		return nil
	}
	delete(n.fs.dirs, f.number)
	delete(n.named, name)
	n.folders = slices.DeleteFunc(n.folders, func(other *Folder) bool { return other == f })
	return f
}
