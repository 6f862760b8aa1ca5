package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/match/recent"
)

// openFlags are for every open file. Each read and write comes here as the program
// made it. close(2) costs no request of its own. Writes do not wait for each other
// in the kernel, since the table's lock orders them.
const openFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH | fuse.FOPEN_PARALLEL_DIRECT_WRITES

// Open follows proc_reg_open and recent_seq_open. O_TRUNC has no effect.
func (fs *filesystem) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&unix.O_DIRECT != 0 {
		return fuse.EINVAL // do_dentry_open, for a file without FMODE_CAN_ODIRECT
	}
	h, status := fs.addHandle(in)
	if !status.Ok() {
		return status
	}
	out.Fh = h.fh
	out.OpenFlags = openFlags
	if reads(in.Flags) {
		// sendfile(2) and splice(2) must fail, as they do in procfs, so that
		// busybox's cat, Python's shutil.copyfile and others go on by read(2).
		// Since Linux 6.5 both go through the page cache (filemap_splice_read),
		// up to the size that the kernel believes the file to have, and of a file
		// of size 0 they find the end without asking. Of a larger one they ask
		// for the first page, which Read refuses. io_uring finds the end of the file
		// there too (fuse_direct_IO), so that it is beyond the table's.
		fs.conn.Load().RaiseSize(in.NodeId, h.table.MaxLength())
	}
	return fuse.OK
}

// addHandle opens a node's table.
func (fs *filesystem) addHandle(in *fuse.OpenIn) (*handle, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	t := fs.file(in.NodeId)
	if t == nil {
		return nil, fuse.Status(unix.ESTALE)
	}
	first, again := device.IsResent(in.Unique)
	if again {
		if h := fs.openedBy(first, in.NodeId); h != nil {
			return h, fuse.OK
		}
	}
	if !fs.mayOpen(in.Uid) {
		return nil, fuse.Status(unix.EMFILE)
	}
	h := &handle{table: t.Table, user: fs.opens(in.Uid)}
	if h.keptOpen = fs.openRoom.take(); h.keptOpen != nil {
		*h.keptOpen, h.inRoom = keptOpen{}, true
	} else {
		h.keptOpen = new(keptOpen)
	}
	h.node, h.opened, h.uid = in.NodeId, first, in.Uid
	h.moments[0].repeats.opener = in.Pid
	h.shrank.Store(in.Flags&unix.O_TRUNC != 0) // fuse_truncate_update_attr
	if reads(in.Flags) {
		h.reads = 1
		fs.addReader(in.NodeId)
	}
	h.fh = fs.nextHandle()
	fs.handles[h.fh] = h
	return h, fuse.OK
}

// openedBy is the open file that a request has opened which a process before did not
// answer, or nil.
func (fs *filesystem) openedBy(request, node uint64) *handle {
	for _, h := range fs.handles {
		if h.opened == request && h.node == node {
			return h
		}
	}
	return nil
}

// nextHandle is a number that no open file had before. fs.mu is held.
func (fs *filesystem) nextHandle() uint64 {
	fs.lastHandle++
	if fs.kept != nil {
		fs.kept.lastHandle = fs.lastHandle
	}
	return fs.lastHandle
}

// Release follows seq_release_private.
func (fs *filesystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	h := fs.handle(in.Fh)
	if h == nil {
		return
	}
	h.close()
	shrank := h.shrank.Load()
	fs.dropHandle(h)
	if shrank {
		fs.raiseSize(in.NodeId, h)
	}
}

func (fs *filesystem) dropHandle(h *handle) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.handles, h.fh)
	fs.closes(h.uid)
	if r := fs.readers[h.node]; r != nil && h.reads != 0 {
		if r.open--; r.open == 0 {
			delete(fs.readers, h.node)
		}
	}
	h.fh = 0
	if h.inRoom {
		fs.openRoom.give(h.keptOpen)
	}
}

// reads tells whether a file was opened for reading.
func reads(flags uint32) bool { return flags&unix.O_ACCMODE != unix.O_WRONLY }

// handle is the open file with that number, or nil.
func (fs *filesystem) handle(fh uint64) *handle {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.handles[fh]
}

// handleOf is the open file of a node with that number, or nil. A file that a process
// before has opened, and for which it had no room, is as if its user had just opened it.
func (fs *filesystem) handleOf(fh uint64, by *fuse.InHeader) *handle {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	h := fs.handles[fh]
	if h == nil && fh != 0 && fh <= fs.handlesBefore {
		h = &handle{table: fs.tableOf(by.NodeId), user: fs.opens(by.Uid), keptOpen: &keptOpen{fh: fh, node: by.NodeId, uid: by.Uid}}
		fs.handles[fh] = h
	}
	return h
}

// Read follows proc_reg_read. A read without an owner is not a program's but
// the page cache's: procfs has none, see Open.
func (fs *filesystem) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if in.ReadFlags&fuse.READ_LOCKOWNER == 0 {
		return nil, fuse.EINVAL
	}
	h := fs.handleOf(in.Fh, &in.InHeader)
	if h == nil {
		return nil, fuse.EBADF
	}
	fs.restoreSize(in.NodeId, h)
	n, err := h.read(buf, int64(in.Offset), in.Pid, in.Unique)
	if err != nil {
		return nil, fuse.ToStatus(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write follows proc_reg_write. The kernel sends a long write in pieces. Only the
// first comes here, because a table takes less of it than was sent.
func (fs *filesystem) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := fs.handleOf(in.Fh, &in.InHeader)
	if h == nil {
		return 0, fuse.EBADF
	}
	fs.restoreSize(in.NodeId, h)
	appends := in.Flags&unix.O_APPEND != 0
	n, err := h.write(fs.noted(), data, int64(in.Offset), appends, in.Unique)
	if err != nil {
		return 0, fuse.ToStatus(err)
	}
	if appends {
		fs.conn.Load().Appended(in.Offset + uint64(n))
	}
	return uint32(n), fuse.OK
}

// noted is where writes are noted for the next process, or nil. Writes come one at a
// time: the loop of fs/device answers each before it reads the next.
func (fs *filesystem) noted() *recent.Written {
	if fs.kept == nil || goFuseLoop {
		return nil
	}
	return &fs.kept.write
}

// Flush comes from kernels that do not know FOPEN_NOFLUSH. After this answer they
// do not ask again.
func (fs *filesystem) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Lseek comes for SEEK_DATA and SEEK_HOLE only, which seq_lseek refuses.
func (fs *filesystem) Lseek(<-chan struct{}, *fuse.LseekIn, *fuse.LseekOut) fuse.Status {
	return fuse.EINVAL
}

// Fsync follows vfs_fsync_range for a file without an fsync function.
func (fs *filesystem) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.EINVAL }

// FsyncDir is Fsync for the directory.
func (fs *filesystem) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.EINVAL }
