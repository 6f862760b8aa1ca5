package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A position in a directory, the d_off of getdents(2), is that of an entry: where
// it is read from next, the entries after that one follow. Below these the
// positions follow from the entries' nodes, and a directory lists its entries in
// that order. So nothing belongs to an open directory here, whatever its number,
// and an entry that is there during a whole listing is listed once, whatever
// comes and goes meanwhile.
//
// procfs differs: it lists shorter names first (proc_match), and its positions
// are counts (proc_readdir_de), so that it repeats or skips an entry when one
// before it comes or goes. Its order cannot be kept without a list for each open
// directory. ls, find, shells and os.ReadDir order names by themselves.
const (
	dotPosition    = 1
	dotDotPosition = 2
	firstPosition  = 3
)

// OpenDir opens a directory for listing.
func (fs *filesystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	_, status := fs.directoryAt(in.NodeId)
	return status
}

// ReleaseDir ends a listing.
func (fs *filesystem) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir lists the dots, then the names. A directory that is gone has only
// the dots, as in proc_readdir_de after remove_proc_subtree.
func (fs *filesystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	add := func(position uint64, e fuse.DirEntry) bool {
		e.Off = position
		return out.AddDirEntry(e)
	}
	if in.Offset < dotPosition && !add(dotPosition, fuse.DirEntry{Ino: in.NodeId, Mode: unix.S_IFDIR, Name: "."}) {
		return fuse.OK
	}
	if in.Offset < dotDotPosition && !add(dotDotPosition, fuse.DirEntry{Ino: fuse.FUSE_ROOT_ID, Mode: unix.S_IFDIR, Name: ".."}) {
		return fuse.OK
	}
	d, status := fs.directoryAt(in.NodeId)
	if !status.Ok() {
		return fuse.OK
	}
	for position, e := range d.list(in.Offset) {
		if !add(position, e) {
			break
		}
	}
	return fuse.OK
}
