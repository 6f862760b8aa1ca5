package fs

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/match/recent"
)

// filesystem answers the kernel's requests. Its root is either a *Folder or a
// *namespacesRoot.
//
// It uses go-fuse's raw API, not its node API. With the node API each lookup makes
// an inode that lives until the kernel forgets it, each open directory keeps what
// was read of it, and go-fuse has a lock and a map of its own for them. Here a
// node's ID says what it is, so that nothing is to be kept, a listing resumes by
// the ID, and a write allocates nothing.
//
// Lock order: filesystem.mu or handle.mu, then those of match/recent. Neither is
// held while the kernel is told something.
type filesystem struct {
	fuse.RawFileSystem // answers ENOSYS to what is not answered here

	root directory
	// conn is set before its first request, and again after the last one of the
	// connection before it. It is nil where there is no kernel.
	conn atomic.Pointer[device.Conn]

	mu         sync.Mutex
	dirs       map[uint64]directory // guarded by mu: by number
	handles    map[uint64]*handle   // guarded by mu: the open files
	readers    map[uint64]*readers  // guarded by mu: by node, of the open files that are for reading
	lastHandle uint64               // guarded by mu
	users      map[uint32]*user     // guarded by mu: those who have opened what is in handles

	// What outlives the process, or nil, and the room in it.
	kept          *kept
	dirRoom       room[keptDir]  // guarded by mu
	fileRoom      room[keptFile] // guarded by mu
	openRoom      room[keptOpen] // guarded by mu
	left          *left          // guarded by mu: what a process before has left, until settle
	handlesBefore uint64         // the last number of an open file of a process before
}

const (
	// valid is how long the kernel may keep names and attributes. It could be
	// forever, since Folder.Update tells the kernel what to distrust.
	valid = time.Hour
	// blockSize is the st_blksize of a file. stdio and others choose their buffer
	// by it. procfs says 1024, but here each read is a round trip. It is the power
	// of two that has room for recent.AnswerSize.
	blockSize = 32 << 10
	// maxSize is the largest size that truncate(2) accepts in procfs: alloc_super
	// gives it as s_maxbytes to a file system that sets none.
	maxSize = 1<<31 - 1
	// dirBlockSize is the st_blksize of procfs.
	dirBlockSize = 1024
)

// newFilesystem has one folder, its root. kept is nil if nothing outlives the process.
func newFilesystem(kept *kept) (*filesystem, *Folder) {
	fs := newTree(kept)
	f := newFolder(fs, rootNumber, "")
	fs.root, fs.dirs[rootNumber] = f, f
	return fs, f
}

// newNamespaces has the directory ns, with no folders yet, and the link self.
func newNamespaces(self func(pid uint32) string, kept *kept) (*filesystem, *Namespaces) {
	fs := newTree(kept)
	ns := &Namespaces{dirNode: fs.newDirNode(nsNumber, nsName), fs: fs, named: make(map[string]*Folder), last: nsNumber}
	if kept != nil {
		ns.last = max(ns.last, kept.lastFolder)
	}
	root := &namespacesRoot{dirNode: fs.newDirNode(rootNumber, ""), ns: ns, self: self}
	fs.root, fs.dirs[rootNumber], fs.dirs[nsNumber] = root, root, ns
	return fs, ns
}

// newTree has no root yet.
func newTree(kept *kept) *filesystem {
	fs := &filesystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		dirs:          make(map[uint64]directory),
		handles:       make(map[uint64]*handle),
		readers:       make(map[uint64]*readers),
		users:         make(map[uint32]*user),
	}
	if kept != nil {
		fs.keepIn(kept)
	}
	return fs
}

// connect begins with a connection. Whatever was open on the one before it is
// gone, and the kernel does not say so.
func (fs *filesystem) connect(conn *device.Conn) {
	fs.conn.Store(conn)
	fs.mu.Lock()
	open := fs.handles
	fs.handles, fs.readers, fs.users = make(map[uint64]*handle), make(map[uint64]*readers), make(map[uint32]*user)
	if fs.kept != nil {
		fs.kept.begin()
		fs.openRoom = room[keptOpen]{table: &fs.kept.opens}
	}
	fs.mu.Unlock()
	for _, h := range open {
		h.close()
	}
}

// directoryAt is the directory of a node. fs.mu is held.
func (fs *filesystem) directoryAt(node uint64) (directory, fuse.Status) {
	d := fs.dirs[node>>32]
	switch {
	case d == nil:
		return nil, fuse.Status(unix.ESTALE)
	case d.node().id() != node:
		return nil, fuse.ENOTDIR
	}
	return d, fuse.OK
}

// file is the file of a node, or nil where its table is gone. fs.mu is held.
func (fs *filesystem) file(node uint64) *file {
	if f, ok := fs.dirs[node>>32].(*Folder); ok {
		return f.file(node)
	}
	return nil
}

// tableOf is the table of a node, or nil where it is gone. fs.mu is held.
func (fs *filesystem) tableOf(node uint64) *recent.Table {
	if f := fs.file(node); f != nil {
		return f.Table
	}
	return nil
}

// selfLink is the root with the link self, where that is the node.
func (fs *filesystem) selfLink(node uint64) (*namespacesRoot, bool) {
	root, ok := fs.root.(*namespacesRoot)
	return root, ok && node == selfID
}

// String implements fuse.RawFileSystem.
func (fs *filesystem) String() string { return fsName }

// Lookup follows proc_tgid_net_lookup. The name stays valid, but the attributes
// expire at once: the table may go before this answer arrives, when the kernel
// knows no node yet that we could tell it to distrust. One GETATTR follows. It has
// no such gap: the kernel ignores the answer where it was told to distrust the node
// meanwhile (attr_version in fs/fuse/inode.c).
func (fs *filesystem) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, status := fs.directoryAt(in.NodeId)
	if !status.Ok() {
		return status
	}
	if !d.lookup(name, out) {
		return fuse.ENOENT
	}
	out.SetEntryTimeout(valid)
	return fuse.OK
}

// Readlink follows proc_self_get_link: self is another directory for each
// reader, by the process or thread that asks. The kernel asks each time.
func (fs *filesystem) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	root, ok := fs.selfLink(in.NodeId)
	if !ok {
		return nil, fuse.EINVAL
	}
	return []byte(root.self(in.Pid)), fuse.OK
}

// GetAttr follows proc_getattr.
func (fs *filesystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	t, status := fs.getAttr(in.NodeId, &out.Attr)
	if !status.Ok() {
		return status
	}
	switch h := fs.handle(in.Fh()); {
	case t == nil:
	case in.Flags()&fuse.FUSE_GETATTR_FH == 0:
		fs.keepSize(in.NodeId, t.MaxLength())
	case h != nil:
		h.shrank.Store(true) // for SEEK_END, which must take the size from us
	}
	out.SetTimeout(valid)
	return fuse.OK
}

// getAttr fills in the attributes of a node. It returns the file where the node
// is a table's.
func (fs *filesystem) getAttr(node uint64, out *fuse.Attr) (*file, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if root, ok := fs.selfLink(node); ok {
		root.selfAttr(out)
		return nil, fuse.OK
	}
	if d, status := fs.directoryAt(node); status.Ok() {
		d.node().attr(out)
		return nil, fuse.OK
	}
	t := fs.file(node)
	if t == nil {
		return nil, fuse.Status(unix.ESTALE)
	}
	fileAttr(out, node, t)
	return t, fuse.OK
}

// SetAttr follows proc_notify_change. Mode and owner stay set. A size or a time is
// accepted and has no effect, but a size beyond maxSize is refused
// (inode_newsize_ok). The kernel has checked the caller's rights
// (default_permissions). The answer expires at once, as Lookup's does: older
// kernels do not look at attr_version here. The size in it is for the kernel alone,
// which asks again before it tells anybody. Those who read need the raised one.
func (fs *filesystem) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if size, ok := in.GetSize(); ok && size > maxSize {
		return fuse.Status(unix.EFBIG)
	}
	change := func(a *recent.Attr) {
		if mode, ok := in.GetMode(); ok {
			a.Perms = mode
		}
		if uid, ok := in.GetUID(); ok {
			a.UID = uid
		}
		if gid, ok := in.GetGID(); ok {
			a.GID = gid
		}
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, ok := fs.selfLink(in.NodeId); ok {
		return fuse.EPERM // proc_self_inode_operations has no setattr, and links no mode
	}
	if d, status := fs.directoryAt(in.NodeId); status.Ok() {
		change(&d.node().attrs)
		d.node().keepAttrs()
		d.node().attr(&out.Attr)
		return fuse.OK
	}
	t := fs.file(in.NodeId)
	if t == nil {
		return fuse.Status(unix.ESTALE)
	}
	if err := t.Chattr(change); err != nil {
		return fuse.ToStatus(err)
	}
	fileAttr(&out.Attr, in.NodeId, t)
	if fs.readers[in.NodeId] != nil {
		out.Size = fs.conn.Load().Size()
	}
	return fuse.OK
}

func fileAttr(out *fuse.Attr, node uint64, t *file) {
	out.Ino = node
	out.Nlink = 1
	out.Blksize = blockSize
	ownAttr(out, unix.S_IFREG, t.Attr(), t.made)
}

func (r *namespacesRoot) selfAttr(out *fuse.Attr) {
	out.Ino = selfID
	out.Nlink = 1
	out.Blksize = dirBlockSize
	ownAttr(out, unix.S_IFLNK, recent.Attr{Perms: 0o777}, r.made)
}

// ownAttr fills in the mode, the owner and the times, which are when the node was
// made and never change. In procfs they are when the inode was made
// (proc_get_inode), which in /proc/net does not outlive its last use. The kernel
// asks for them again after each read and write, and tar would warn of a file that
// changed as it was read.
func ownAttr(out *fuse.Attr, kind uint32, a recent.Attr, made time.Time) {
	out.Mode = kind | a.Perms&0o7777 // the kernel refuses a file of another kind
	out.Owner = fuse.Owner{Uid: a.UID, Gid: a.GID}
	out.SetTimes(&made, &made, &made)
}

// StatFs follows simple_statfs.
func (fs *filesystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	statFs(out)
	return fuse.OK
}

func statFs(out *fuse.StatfsOut) { out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255 }
