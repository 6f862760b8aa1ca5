package fs

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// filesystem answers the kernel's requests. Either its root is the only
// directory, with the tables of one registry in it, or the root holds the
// directory ns, a folder in it for each of several registries, and the link
// self.
//
// Lock order: filesystem.mu or handle.mu, then those of match/recent.
type filesystem struct {
	fuse.RawFileSystem // answers ENOSYS to what is not answered here

	self   func(pid uint32) string // where the link self leads a process; nil where there is none
	server *fuse.Server            // set before the first request
	behind atomic.Int64            // for refuseSplice

	mu         sync.Mutex
	dirs       map[uint64]*directory      // guarded by mu: by number
	named      map[string]*directory      // guarded by mu: the folders of ns, by name
	lastDir    uint64                     // guarded by mu
	handles    map[uint64]*handle         // guarded by mu: the open files
	readers    map[uint64]int             // guarded by mu: by node, how many of them are for reading
	listings   map[uint64][]fuse.DirEntry // guarded by mu: the open directories
	lastHandle uint64                     // guarded by mu
}

const (
	// valid is how long the kernel may go without asking again. It could be
	// forever: changed tells the kernel what is no longer so.
	valid = time.Hour
	// blockSize is the st_blksize of a file, by which stdio and others choose
	// their buffer: procfs says 1024, but here each read is a round trip. It is
	// the power of two that has room for recent.AnswerSize.
	blockSize = 32 << 10
	// maxSize is what truncate(2) allows in procfs: the s_maxbytes that
	// alloc_super gives a file system which sets none.
	maxSize = 1<<31 - 1
	// dirBlockSize is the st_blksize of procfs.
	dirBlockSize = 1024
)

// newFilesystem shows the tables of a new registry in its root.
func newFilesystem(module *recent.Module) (*filesystem, *recent.Registry) {
	fs := newTree()
	return fs, fs.dirs[rootNumber].fill(fs, module)
}

// newNamespaces shows folders of tables, none as yet, below ns. self names the
// target of the link self for a process.
func newNamespaces(self func(pid uint32) string) *filesystem {
	fs := newTree()
	fs.self = self
	fs.dirs[nsNumber] = newDirectory(nsNumber, nsName)
	return fs
}

// newTree has a root and nothing else.
func newTree() *filesystem {
	fs := &filesystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		dirs:          map[uint64]*directory{rootNumber: newDirectory(rootNumber, "")},
		named:         make(map[string]*directory),
		lastDir:       nsNumber,
		handles:       make(map[uint64]*handle),
		readers:       make(map[uint64]int),
		listings:      make(map[uint64][]fuse.DirEntry),
	}
	fs.behind.Store(behindWrites)
	return fs
}

// Init is called when the kernel has agreed on the protocol, before the first
// request.
func (fs *filesystem) Init(server *fuse.Server) { fs.server = server }

// changed hears the events of a directory's registry. A table that came needs nothing, since
// the kernel does not remember names that were not there. Of one that went,
// the kernel is told to distrust the attributes that it keeps, and whatever it
// then asks about the node gets ESTALE, upon which it looks the name up again
// (LOOKUP_REVAL, as in path_openat and vfs_statx).
//
// Dropping the name from the kernel's cache would look simpler
// (FUSE_NOTIFY_INVAL_ENTRY), but it takes the directory's lock, and whoever
// lists the directory into memory that does not answer holds that lock for as
// long as he likes, with us waiting beyond the reach of any signal.
func (fs *filesystem) changed(d *directory, e recent.Event) {
	for _, node := range fs.drop(d, e.Table.Name()) {
		fs.distrust(node)
	}
}

// distrust tells the kernel that what it knows of a node may be wrong. An error
// says that it does not know the node or that there is no mount any more: then
// there is nothing to distrust.
func (fs *filesystem) distrust(node uint64) { fs.server.InodeNotify(node, -1, 0) }

// drop takes tables of that name which are gone out of the directory's files and returns their nodes.
func (fs *filesystem) drop(d *directory, name string) []uint64 {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var gone []uint64
	for node, t := range d.files {
		if t.Name() == name && t.Gone() {
			delete(d.files, node)
			gone = append(gone, node)
		}
	}
	return gone
}

// String implements fuse.RawFileSystem.
func (fs *filesystem) String() string { return fsName }

// Lookup follows proc_tgid_net_lookup. The name holds, but the attributes
// expire at once: the table may go before this answer arrives, and the kernel
// then knows no node yet that it could be told to distrust. The GETATTR that
// follows, once, is safe from that: the kernel ignores its answer when it is
// told so meanwhile (attr_version in fs/fuse/inode.c).
func (fs *filesystem) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	// Under the lock, so that drop either finds the table here or is done
	// before we ask the registry.
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, status := fs.directoryAt(in.NodeId)
	if !status.Ok() {
		return status
	}
	switch {
	case !fs.has(d, name):
		return fuse.ENOENT
	case d.reg != nil:
		t := d.reg.Table(name)
		if t == nil {
			return fuse.ENOENT // gone just now
		}
		out.NodeId = d.fileNode(t)
		d.files[out.NodeId] = t
		fileAttr(&out.Attr, out.NodeId, t)
	case d.number == nsNumber:
		out.NodeId = fs.named[name].node()
		dirAttr(&out.Attr, fs.named[name])
	case name == nsName:
		out.NodeId = fs.dirs[nsNumber].node()
		dirAttr(&out.Attr, fs.dirs[nsNumber])
	default:
		out.NodeId = selfNode
		selfAttr(&out.Attr)
	}
	out.SetEntryTimeout(valid)
	return fuse.OK
}

// Readlink follows proc_self_get_link: self is another directory for each
// reader, by the process or thread that asks. The kernel asks each time.
func (fs *filesystem) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	if fs.self == nil || in.NodeId != selfNode {
		return nil, fuse.EINVAL
	}
	return []byte(fs.self(in.Pid)), fuse.OK
}

// GetAttr follows proc_getattr.
func (fs *filesystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	t, status := fs.getAttr(in.NodeId, &out.Attr)
	if !status.Ok() {
		return status
	}
	// While this request is under way, so that the kernel answers by it but
	// does not remember its size (fuse_change_attributes). With a handle it
	// asks for SEEK_END, which is to take the size from here.
	if t != nil && fs.isRead(in.NodeId) && in.Flags()&fuse.FUSE_GETATTR_FH == 0 {
		fs.refuseSplice(in.NodeId)
	}
	out.SetTimeout(valid)
	return fuse.OK
}

// getAttr fills in the attributes of a node, and returns the table whose file
// it is, if it is one.
func (fs *filesystem) getAttr(node uint64, out *fuse.Attr) (*recent.Table, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.self != nil && node == selfNode {
		selfAttr(out)
		return nil, fuse.OK
	}
	if d, status := fs.directoryAt(node); status.Ok() {
		dirAttr(out, d)
		return nil, fuse.OK
	}
	t := fs.file(node)
	if t == nil {
		return nil, fuse.Status(unix.ESTALE)
	}
	fileAttr(out, node, t)
	return t, fuse.OK
}

// isRead tells whether somebody has the file open for reading.
func (fs *filesystem) isRead(node uint64) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.readers[node] > 0
}

// SetAttr follows proc_notify_change: mode and owner stay, a size or a time is
// taken and has no effect, unless the size is beyond what procfs allows
// (inode_newsize_ok). Whether the caller may, the kernel has checked
// (default_permissions). The answer expires at once, as that to Lookup: older
// kernels do not look at attr_version here.
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
	if fs.self != nil && in.NodeId == selfNode {
		return fuse.EPERM // proc_self_inode_operations has no setattr, and links no mode
	}
	if d, status := fs.directoryAt(in.NodeId); status.Ok() {
		change(&d.attr)
		dirAttr(&out.Attr, d)
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
	return fuse.OK
}

func fileAttr(out *fuse.Attr, node uint64, t *recent.Table) {
	out.Ino = node
	out.Nlink = 1
	out.Blksize = blockSize
	ownAttr(out, unix.S_IFREG, t.Attr())
}

// dirAttr fills in a directory's attributes. filesystem.mu is held.
func dirAttr(out *fuse.Attr, d *directory) {
	out.Ino = d.node()
	out.Nlink = 2
	out.Blksize = dirBlockSize
	ownAttr(out, unix.S_IFDIR, d.attr)
}

func selfAttr(out *fuse.Attr) {
	out.Ino = selfNode
	out.Nlink = 1
	out.Blksize = dirBlockSize
	ownAttr(out, unix.S_IFLNK, recent.Attr{Perms: 0o777})
}

// ownAttr fills in what is a file's own. Its times are those of the question,
// as in /proc/net, whose inodes do not outlive their last use (proc_get_inode).
func ownAttr(out *fuse.Attr, kind uint32, a recent.Attr) {
	out.Mode = kind | a.Perms
	out.Owner = fuse.Owner{Uid: a.UID, Gid: a.GID}
	now := time.Now()
	out.SetTimes(&now, &now, &now)
}

// StatFs follows simple_statfs.
func (fs *filesystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	return fuse.OK
}
