package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
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
	var ok bool
	h := &handle{repeats: repeats{opener: in.Pid}}
	h.shrank.Store(in.Flags&unix.O_TRUNC != 0) // fuse_truncate_update_attr
	if out.Fh, ok = fs.addHandle(in.NodeId, h, reads(in.Flags)); !ok {
		return fuse.Status(unix.ESTALE)
	}
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

// addHandle opens a node's table. ok is false where the table is gone.
func (fs *filesystem) addHandle(node uint64, h *handle, reads bool) (fh uint64, ok bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	t := fs.file(node)
	if t == nil {
		return 0, false
	}
	if reads {
		fs.addReader(node)
	}
	fs.lastHandle++
	h.table = t.Table
	fs.handles[fs.lastHandle] = h
	return fs.lastHandle, true
}

// Release follows seq_release_private.
func (fs *filesystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if h := fs.handle(in.Fh); h != nil {
		h.close()
		defer fs.restoreSize(in.NodeId, h)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.handles, in.Fh)
	if !reads(in.Flags) {
		return
	}
	if r := fs.readers[in.NodeId]; r != nil {
		if r.open--; r.open == 0 {
			delete(fs.readers, in.NodeId)
		}
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

// Read follows proc_reg_read. A read without an owner is not a program's but
// the page cache's: procfs has none, see Open.
func (fs *filesystem) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if in.ReadFlags&fuse.READ_LOCKOWNER == 0 {
		return nil, fuse.EINVAL
	}
	h := fs.handle(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	fs.restoreSize(in.NodeId, h)
	n, err := h.read(buf, int64(in.Offset), in.Pid)
	if err != nil {
		return nil, fuse.ToStatus(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write follows proc_reg_write. The kernel sends a long write in pieces. Only the
// first comes here, because a table takes less of it than was sent.
func (fs *filesystem) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := fs.handle(in.Fh)
	if h == nil {
		return 0, fuse.EBADF
	}
	fs.restoreSize(in.NodeId, h)
	appends := in.Flags&unix.O_APPEND != 0
	n, err := h.write(data, int64(in.Offset), appends)
	if err != nil {
		return 0, fuse.ToStatus(err)
	}
	if appends {
		fs.conn.Load().Appended(in.Offset + uint64(n))
	}
	return uint32(n), fuse.OK
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
