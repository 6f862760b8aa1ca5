package fs

import (
	"iter"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Each entry of a directory has a position, the d_off of getdents(2), that follows
// from its node. A directory lists its entries by position. A read from a position
// returns the entries with a higher one. So an open directory needs no memory here,
// however many there are. An entry that is there during a whole listing is listed
// exactly once, whatever comes and goes meanwhile.
//
// procfs differs. It lists shorter names first (proc_match), and a position is a
// count (proc_readdir_de): it repeats or skips an entry when one before it comes or
// goes. Its order would need a list for each open directory, and any user may open
// many. ls, shells and os.ReadDir sort the names by themselves.
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
	var names iter.Seq2[uint64, fuse.DirEntry]
	if d, status := fs.directoryAt(in.NodeId); status.Ok() {
		names = d.list(in.Offset)
	}
	addEntries(in, out, names)
	return fuse.OK
}

// addEntries answers in with the dots and with the names that come after its
// position, as many as there is room for. names may be nil.
func addEntries(in *fuse.ReadIn, out *fuse.DirEntryList, names iter.Seq2[uint64, fuse.DirEntry]) {
	add := func(position uint64, e fuse.DirEntry) bool {
		e.Off = position
		return out.AddDirEntry(e)
	}
	if in.Offset < dotPosition && !add(dotPosition, fuse.DirEntry{Ino: in.NodeId, Mode: unix.S_IFDIR, Name: "."}) {
		return
	}
	if in.Offset < dotDotPosition && !add(dotDotPosition, fuse.DirEntry{Ino: fuse.FUSE_ROOT_ID, Mode: unix.S_IFDIR, Name: ".."}) {
		return
	}
	if names == nil {
		return
	}
	for position, e := range names {
		if !add(position, e) {
			return
		}
	}
}
