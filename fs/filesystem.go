package fs

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// filesystem answers the kernel's requests. Its only directory is the root;
// a table's file is the node with the table's ID plus one.
//
// Lock order: filesystem.mu or handle.mu, then those of match/recent.
type filesystem struct {
	fuse.RawFileSystem // answers ENOSYS to what is not answered here

	reg    *recent.Registry
	server *fuse.Server // set before the first request
	behind atomic.Int64 // for refuseSplice

	mu         sync.Mutex
	root       recent.Attr                // guarded by mu: the directory's
	files      map[uint64]*recent.Table   // guarded by mu: by node, those that were looked up
	handles    map[uint64]*handle         // guarded by mu: the open files
	readers    map[uint64]int             // guarded by mu: by node, how many of them are for reading
	listings   map[uint64][]*recent.Table // guarded by mu: the open directories
	lastHandle uint64                     // guarded by mu
}

const (
	// valid is how long the kernel may go without asking again. It could be
	// forever: changed tells the kernel what is no longer so.
	valid = time.Hour
	// blockSize is the st_blksize of a file, by which stdio and others choose
	// their buffer: procfs says 1024, but here each read is a round trip.
	blockSize = maxRead
	// maxSize is what truncate(2) allows in procfs: the s_maxbytes that
	// alloc_super gives a file system which sets none.
	maxSize = 1<<31 - 1
	// dirBlockSize is the st_blksize of procfs.
	dirBlockSize = 1024
)

func newFilesystem(reg *recent.Registry) *filesystem {
	fs := &filesystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		reg:           reg,
		root:          recent.Attr{Perms: 0o555},
		files:         make(map[uint64]*recent.Table),
		handles:       make(map[uint64]*handle),
		readers:       make(map[uint64]int),
		listings:      make(map[uint64][]*recent.Table),
	}
	fs.behind.Store(behindWrites)
	return fs
}

// Init is called when the kernel has agreed on the protocol, before the first
// request.
func (fs *filesystem) Init(server *fuse.Server) {
	fs.server = server
	fs.reg.Changed = fs.changed
}

// changed is the registry's Changed. A table that came needs nothing, since
// the kernel does not remember names that were not there. Of one that went,
// the kernel is told to distrust the attributes that it keeps, and whatever it
// then asks about the node gets ESTALE, upon which it looks the name up again
// (LOOKUP_REVAL, as in path_openat and vfs_statx).
//
// Dropping the name from the kernel's cache would look simpler
// (FUSE_NOTIFY_INVAL_ENTRY), but it takes the directory's lock, and whoever
// lists the directory into memory that does not answer holds that lock for as
// long as he likes, with us waiting beyond the reach of any signal.
func (fs *filesystem) changed(name string) {
	for _, node := range fs.drop(name) {
		// An error says that the kernel does not know the node or that there
		// is no mount any more: then there is nothing to distrust.
		fs.server.InodeNotify(node, -1, 0)
	}
}

// drop takes tables of that name which are no longer the registry's out of
// files and returns their nodes.
func (fs *filesystem) drop(name string) []uint64 {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var gone []uint64
	now := fs.reg.Table(name)
	for node, t := range fs.files {
		if t.Name() == name && t != now {
			delete(fs.files, node)
			gone = append(gone, node)
		}
	}
	return gone
}

// file is the table of a node, or nil where it is gone.
func (fs *filesystem) file(node uint64) *recent.Table {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.files[node]
}

func node(t *recent.Table) uint64 { return fuse.FUSE_ROOT_ID + t.ID() }

// String implements fuse.RawFileSystem.
func (fs *filesystem) String() string { return fsName }

// Lookup follows proc_tgid_net_lookup. The name holds, but the attributes
// expire at once: the table may go before this answer arrives, and the kernel
// then knows no node yet that it could be told to distrust. The GETATTR that
// follows, once, is safe from that: the kernel ignores its answer when it is
// told so meanwhile (attr_version in fs/fuse/inode.c).
func (fs *filesystem) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if in.NodeId != fuse.FUSE_ROOT_ID {
		return fuse.ENOTDIR
	}
	// Under the lock, so that drop either finds the table here or is done
	// before we ask the registry.
	fs.mu.Lock()
	defer fs.mu.Unlock()
	t := fs.reg.Table(name)
	if t == nil {
		return fuse.ENOENT
	}
	out.NodeId = node(t)
	fs.files[out.NodeId] = t
	fileAttr(&out.Attr, t)
	out.SetEntryTimeout(valid)
	return fuse.OK
}

// GetAttr follows proc_getattr.
func (fs *filesystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.NodeId == fuse.FUSE_ROOT_ID {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		dirAttr(&out.Attr, fs.root)
	} else {
		t := fs.file(in.NodeId)
		if t == nil {
			return fuse.Status(unix.ESTALE)
		}
		fileAttr(&out.Attr, t)
		// While this request is under way, so that the kernel answers by it but
		// does not remember its size (fuse_change_attributes). With a handle it
		// asks for SEEK_END, which is to take the size from here.
		if fs.isRead(in.NodeId) && in.Flags()&fuse.FUSE_GETATTR_FH == 0 {
			fs.refuseSplice(in.NodeId)
		}
	}
	out.SetTimeout(valid)
	return fuse.OK
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
	if in.NodeId == fuse.FUSE_ROOT_ID {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		change(&fs.root)
		dirAttr(&out.Attr, fs.root)
		return fuse.OK
	}
	t := fs.file(in.NodeId)
	if t == nil {
		return fuse.Status(unix.ESTALE)
	}
	if err := t.Chattr(change); err != nil {
		return fuse.ToStatus(err)
	}
	fileAttr(&out.Attr, t)
	return fuse.OK
}

func fileAttr(out *fuse.Attr, t *recent.Table) {
	out.Ino = node(t)
	out.Nlink = 1
	out.Blksize = blockSize
	ownAttr(out, unix.S_IFREG, t.Attr())
}

func dirAttr(out *fuse.Attr, a recent.Attr) {
	out.Ino = fuse.FUSE_ROOT_ID
	out.Nlink = 2
	out.Blksize = dirBlockSize
	ownAttr(out, unix.S_IFDIR, a)
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
