package fs

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// again is the number of a request that comes again.
func again(unique uint64) uint64 { return unique | 1<<63 }

func chmod(t *testing.T, fs *filesystem, node uint64, mode uint32) {
	t.Helper()
	in := fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: fuse.InHeader{NodeId: node}, Valid: fuse.FATTR_MODE, Mode: mode}}
	if st := fs.SetAttr(nil, &in, new(fuse.AttrOut)); !st.Ok() {
		t.Fatal(st)
	}
}

func attrOf(t *testing.T, fs *filesystem, node uint64) fuse.Attr {
	t.Helper()
	var out fuse.AttrOut
	if st := fs.GetAttr(nil, &fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: node}}, &out); !st.Ok() {
		t.Fatal(st)
	}
	return out.Attr
}

// TestKeptFolders has two processes with folders. The second gives each the number that
// it had, and no number twice.
func TestKeptFolders(t *testing.T) {
	kept := new(kept)
	first, ns := newNamespaces(nowhere, kept)
	first.settle()
	numbers := make(map[string]uint64)
	add := func(ns *Namespaces, name string) *Folder {
		f, err := ns.Add(name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, name := range []string{"ns", "gone before", "red", "gone", "blue"} {
		numbers[name] = add(ns, name).number
	}
	ns.Remove("gone before")
	chmod(t, first, numbers["red"]<<32|1, 0o700)
	chmod(t, first, fuse.FUSE_ROOT_ID, 0o711)
	chmod(t, first, ns.id(), 0o722)
	nodes := []uint64{fuse.FUSE_ROOT_ID, ns.id(), numbers["red"]<<32 | 1, numbers["blue"]<<32 | 1}
	var before []fuse.Attr
	for _, node := range nodes {
		before = append(before, attrOf(t, first, node))
	}

	second, ns := newNamespaces(nowhere, kept)
	for _, name := range []string{"blue", "new", "gone before", "red", "ns"} {
		switch number := add(ns, name).number; {
		case name == "new", name == "gone before":
			if number <= numbers["blue"] {
				t.Errorf("folder %q has number %d, which another had", name, number)
			}
		case number != numbers[name]:
			t.Errorf("folder %q has number %d, and had %d", name, number, numbers[name])
		}
	}
	for i, node := range nodes {
		if got := attrOf(t, second, node); got != before[i] {
			t.Errorf("node %#x: %+v, it was %+v", node, got, before[i])
		}
	}
	var names []string
	for _, e := range ns.list(0) {
		names = append(names, e.Name)
	}
	if want := []string{"ns", "red", "blue", "new", "gone before"}; !slices.Equal(names, want) {
		t.Errorf("the list is %q, want %q", names, want)
	}
	if got := second.gone(); !slices.Equal(got, []uint64{numbers["gone"]<<32 | 1}) {
		t.Errorf("gone are %#x", got)
	}
	second.settle()
	if used := kept.dirs.used; used != 8 { // two for the others; one was used twice
		t.Errorf("%d entries have been in use", used)
	}
	if f := add(ns, "gone"); f.number == numbers["gone"] {
		t.Error("a folder that came later has the number of the one before")
	}
}

// TestKeptFiles has two processes with tables in a folder.
func TestKeptFiles(t *testing.T) {
	kept := new(kept)
	reg := emptyModule(t).NewRegistry(nil)
	a, b, c := table(t, reg, "a"), table(t, reg, "b"), table(t, reg, "c")
	first, folder := newFilesystem(kept)
	first.settle()
	for _, table := range []*recent.Table{a, b, c} {
		folder.Update(recent.Event{Table: table})
	}
	folder.Update(recent.Event{Table: c, Gone: true})
	kept.files.entries[0].made -= int64(time.Hour)
	want := attrOf(t, first, folder.fileID(a))
	want.SetTimes(ptr(at(kept.files.entries[0].made)), ptr(at(kept.files.entries[0].made)), ptr(at(kept.files.entries[0].made)))

	second, folder := newFilesystem(kept)
	if got := folder.LastID(); got != c.ID() {
		t.Errorf("the last ID is %d, want %d", got, c.ID())
	}
	folder.Update(recent.Event{Table: a})
	if got := attrOf(t, second, folder.fileID(a)); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := second.gone(); !slices.Equal(got, []uint64{folder.fileID(b)}) {
		t.Errorf("gone are %#x, want that of b", got)
	}
	if _, folder := newFilesystem(nil); folder.LastID() != 0 {
		t.Error("a folder that does not outlive the process knows of IDs")
	}
}

func ptr[T any](v T) *T { return &v }

// opened is a file that is opened.
func opened(t *testing.T, fs *filesystem, node, unique uint64, flags uint32) (fh uint64) {
	t.Helper()
	var out fuse.OpenOut
	if st := fs.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: node, Unique: unique}, Flags: flags}, &out); !st.Ok() {
		t.Fatal(st)
	}
	return out.Fh
}

func released(fs *filesystem, node, fh uint64, flags uint32) {
	fs.Release(nil, &fuse.ReleaseIn{InHeader: fuse.InHeader{NodeId: node}, Fh: fh, Flags: flags})
}

// readAt is a READ.
func readAt(fs *filesystem, node, fh, unique uint64, off int64, size int) (string, fuse.Status) {
	in := fuse.ReadIn{InHeader: fuse.InHeader{NodeId: node, Unique: unique}, ReadFlags: fuse.READ_LOCKOWNER, Fh: fh, Offset: uint64(off), Size: uint32(size)}
	r, st := fs.Read(nil, &in, make([]byte, size))
	if !st.Ok() {
		return "", st
	}
	text, _ := r.Bytes(make([]byte, size))
	return string(text), st
}

// TestKeptOpenFiles has two processes with open files.
func TestKeptOpenFiles(t *testing.T) {
	kept := new(kept)
	reg := emptyModule(t).NewRegistry(nil)
	tab, gone := table(t, reg, "t"), table(t, reg, "gone")
	for i := range 3 {
		if _, _, err := tab.Write(fmt.Appendf(nil, "+192.0.2.%d", i), 0); err != nil {
			t.Fatal(err)
		}
	}
	all := make([]byte, 1000)
	n, err := tab.Cursor().ReadAt(all, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := string(all[:n])
	first, folder := newFilesystem(kept)
	first.settle()
	folder.Update(recent.Event{Table: tab})
	folder.Update(recent.Event{Table: gone})
	node, goneNode := folder.fileID(tab), folder.fileID(gone)
	idle, reader := opened(t, first, node, 2, unix.O_RDONLY), opened(t, first, node, 4, unix.O_RDWR)
	closed, lost := opened(t, first, node, 6, unix.O_RDONLY), opened(t, first, goneNode, 8, unix.O_RDONLY)
	released(first, node, closed, unix.O_RDONLY)
	part, _ := readAt(first, node, reader, 10, 0, 50)
	if _, st := readAt(first, node, reader, 12, 50, 60); !st.Ok() { // is not answered
		t.Fatal(st)
	}
	last := opened(t, first, node, 14, unix.O_RDONLY) // is not answered
	if kept.opens.used != 4 {
		t.Errorf("%d entries have been in use, want 4, since one file was closed", kept.opens.used)
	}

	second, folder := newFilesystem(kept)
	folder.Update(recent.Event{Table: tab})
	second.settle()
	if got := opened(t, second, node, again(14), unix.O_RDONLY); got != last {
		t.Errorf("the file that is opened again is %d, and was %d", got, last)
	}
	if r := second.readers[node]; r == nil || r.open != 3 {
		t.Errorf("readers %+v, want 3", r)
	}
	next, st := readAt(second, node, reader, again(12), 50, 60)
	rest, st2 := readAt(second, node, reader, 16, 110, 1000)
	if part+next+rest != text || !st.Ok() || !st2.Ok() {
		t.Errorf("in pieces %q + %q + %q, want %q", part, next, rest, text)
	}
	if _, st := readAt(second, goneNode, lost, 18, 0, 100); st != fuse.EIO {
		t.Errorf("a file whose table is gone: %v", st)
	}
	if _, st := second.Write(nil, &fuse.WriteIn{InHeader: fuse.InHeader{NodeId: goneNode}, Fh: lost}, []byte("/")); st != fuse.EIO {
		t.Errorf("a write to it: %v", st)
	}
	if _, st := readAt(second, node, last+1, 20, 0, 100); st != fuse.EBADF {
		t.Errorf("a file that nobody has opened: %v", st)
	}
	if fh := opened(t, second, node, 22, unix.O_WRONLY); fh <= last {
		t.Errorf("a new file is %d, as one before", fh)
	}
	for _, fh := range []uint64{idle, reader, last} {
		released(second, node, fh, unix.O_RDONLY)
	}
	released(second, goneNode, lost, unix.O_RDONLY)
	if len(second.readers) != 0 || len(second.handles) != 1 {
		t.Errorf("left are readers %v, files %v", second.readers, second.handles)
	}
	if kept.opens.used != 5 {
		t.Errorf("%d entries have been in use, want 5", kept.opens.used)
	}
}

// TestManyOpenFiles opens more files than there is room for. The next process reads
// from each.
func TestManyOpenFiles(t *testing.T) {
	kept := new(kept)
	tab := table(t, emptyModule(t).NewRegistry(nil), "t")
	if _, _, err := tab.Write([]byte("+192.0.2.1"), 0); err != nil {
		t.Fatal(err)
	}
	first, folder := newFilesystem(kept)
	first.settle()
	folder.Update(recent.Event{Table: tab})
	node := folder.fileID(tab)
	var fh uint64
	for range tableSize + 1 {
		fh = opened(t, first, node, 2, unix.O_RDONLY)
	}
	released(first, node, fh, unix.O_RDONLY)
	fh = opened(t, first, node, 2, unix.O_RDONLY)
	second, folder := newFilesystem(kept)
	folder.Update(recent.Event{Table: tab})
	second.settle()
	if text, st := readAt(second, node, fh, 4, 0, 100); addresses(text) != "192.0.2.1" {
		t.Errorf("a file for which there was no room: %q, %v", text, st)
	}
	released(second, node, fh, unix.O_RDONLY)
	if len(second.handles) != tableSize || second.readers[node].open != tableSize {
		t.Errorf("%d files, %d readers, want %d", len(second.handles), second.readers[node].open, tableSize)
	}
}
