package fs

import "github.com/hanwen/go-fuse/v2/fuse"

// In procfs nobody can make a new name: the lookup of the name fails with ENOENT
// before anything else is tried (proc_lookup_de). Nobody can remove a name either,
// since procfs has neither unlink nor rename: EPERM.

// Create refuses a new file.
func (fs *filesystem) Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return fuse.ENOENT
}

// Mknod refuses a new node.
func (fs *filesystem) Mknod(<-chan struct{}, *fuse.MknodIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.ENOENT
}

// Mkdir refuses a new directory.
func (fs *filesystem) Mkdir(<-chan struct{}, *fuse.MkdirIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.ENOENT
}

// Symlink refuses a new symbolic link.
func (fs *filesystem) Symlink(<-chan struct{}, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.ENOENT
}

// Link refuses a new name.
func (fs *filesystem) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.ENOENT
}

// Rename refuses a new name, and the name of another entry.
func (fs *filesystem) Rename(_ <-chan struct{}, in *fuse.RenameIn, _, newName string) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, status := fs.directoryAt(in.Newdir)
	if !status.Ok() {
		return status
	}
	if !d.lookup(newName, new(fuse.EntryOut)) {
		return fuse.ENOENT
	}
	return fuse.EPERM
}

// Unlink refuses to remove a file.
func (fs *filesystem) Unlink(<-chan struct{}, *fuse.InHeader, string) fuse.Status {
	return fuse.EPERM
}

// Rmdir refuses to remove a directory.
func (fs *filesystem) Rmdir(<-chan struct{}, *fuse.InHeader, string) fuse.Status {
	return fuse.EPERM
}
