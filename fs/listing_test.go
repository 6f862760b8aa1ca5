package fs

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// heap is how many bytes are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestOpenDirectoriesTakeNoMemory opens a directory many times and reads a part of
// it each time. Any user may do that, as often as the limit for descriptors allows.
func TestOpenDirectoriesTakeNoMemory(t *testing.T) {
	const tables, descriptors, limit = 500, 5000, 1 << 20
	files, folder := newFilesystem(nil)
	reg := emptyModule(t).NewRegistry(folder.Update)
	for i := range tables {
		table(t, reg, fmt.Sprint("table", i))
	}
	module := newModuleFS(Module{}, nil)
	var parameters fuse.EntryOut
	if st := module.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, parametersName, &parameters); !st.Ok() {
		t.Fatal(st)
	}
	for _, c := range []struct {
		name string
		fs   fuse.RawFileSystem
		node uint64
		size int // of the memory for the entries
	}{
		{"half of the tables", files, fuse.FUSE_ROOT_ID, 8192},
		{"all parameters", module, parameters.NodeId, 8192},
		{"some parameters", module, parameters.NodeId, 150},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := fuse.InHeader{NodeId: c.node}
			buf := make([]byte, c.size)
			before := heap()
			for range descriptors {
				var opened fuse.OpenOut
				if st := c.fs.OpenDir(nil, &fuse.OpenIn{InHeader: dir}, &opened); !st.Ok() {
					t.Fatal(st)
				}
				out := fuse.NewDirEntryList(buf, 0)
				if st := c.fs.ReadDir(nil, &fuse.ReadIn{InHeader: dir, Fh: opened.Fh}, out); !st.Ok() || len(out.Bytes()) < 100 {
					t.Fatalf("%v, %d bytes", st, len(out.Bytes()))
				}
			}
			if after := heap(); after > before+limit {
				t.Errorf("%d open directories take %d bytes", descriptors, after-before)
			}
			runtime.KeepAlive(c.fs)
		})
	}
}

// dirent is an entry as getdents64(2) gives it.
type dirent struct {
	name     string
	position int64 // d_off: where the next one is
}

// getdents reads up to size bytes of entries, without the dots.
func getdents(t *testing.T, fd, size int) (all []dirent, end bool) {
	t.Helper()
	buf := make([]byte, size)
	n, err := unix.Getdents(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	for b := buf[:n]; len(b) > 0; b = b[binary.NativeEndian.Uint16(b[16:]):] {
		name := unix.ByteSliceToString(b[19:])
		if name != "." && name != ".." {
			all = append(all, dirent{name, int64(binary.NativeEndian.Uint64(b[8:]))})
		}
	}
	return all, n == 0
}

// TestSeekInListing reads with buffers for a few entries, while an answer of ours
// holds many, and seeks as telldir(3), seekdir(3) and rewinddir(3) do.
func TestSeekInListing(t *testing.T) {
	m := mountNamespaces(t, nowhere)
	red := addFolder(t, m, "red")
	addFolder(t, m, "blue")
	rules, want := make(map[string]*recent.Rule), []string{"ssh"}
	for i := range 30 {
		name := fmt.Sprint("table", i)
		want, rules[name] = append(want, name), red.rule(t, name)
	}
	for _, c := range []struct {
		dir  string
		want []string
	}{{"", []string{"ns", "self"}}, {"ns", []string{"red", "blue"}}, {"ns/red", want}} {
		d, err := os.Open(filepath.Join(m.Dir(), c.dir))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		fd := int(d.Fd())
		seek := func(position int64) {
			t.Helper()
			if at, err := unix.Seek(fd, position, unix.SEEK_SET); err != nil || at != position {
				t.Fatalf("seek to %d: %d, %v", position, at, err)
			}
		}
		for _, size := range []int{32, 64, 100, 4096} {
			seek(0)
			var all []dirent
			for {
				some, end := getdents(t, fd, size)
				if end {
					break
				}
				all = append(all, some...)
			}
			if got := entryNames(all); !slices.Equal(got, c.want) {
				t.Errorf("%q by %d bytes: %q, want %q", c.dir, size, got, c.want)
			}
			for i, e := range all[:len(all)-1] {
				seek(e.position)
				if next, _ := getdents(t, fd, size); len(next) == 0 || next[0] != all[i+1] {
					t.Errorf("%q by %d bytes: after %q comes %q, want %q", c.dir, size, e.name, entryNames(next), all[i+1].name)
				}
			}
		}
	}
	// The entry of a position goes.
	d, err := os.Open(red.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fd := int(d.Fd())
	all, _ := getdents(t, fd, 4096)
	red.reg.Destroy(rules[all[10].name])
	if _, err := unix.Seek(fd, all[10].position, unix.SEEK_SET); err != nil {
		t.Fatal(err)
	}
	if next, _ := getdents(t, fd, 64); len(next) == 0 || next[0] != all[11] {
		t.Errorf("after %q, which is gone, comes %q", all[10].name, entryNames(next))
	}
}

func entryNames(all []dirent) (names []string) {
	for _, e := range all {
		names = append(names, e.name)
	}
	return names
}

// TestListingWhileTablesComeAndGo changes what a directory holds between two
// reads of it.
func TestListingWhileTablesComeAndGo(t *testing.T) {
	h := modern(t)
	rules := make(map[string]*recent.Rule)
	add := func(names ...string) {
		for _, name := range names {
			rules[name] = h.rule(t, name)
		}
	}
	add("a1", "a2", "a3", "b4", "b5", "b6")
	d, err := os.Open(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fd := int(d.Fd())
	first, _ := getdents(t, fd, 5*24) // room for the dots and three names
	if got := entryNames(first); !slices.Equal(got, []string{"a1", "a2", "a3"}) {
		t.Fatalf("at first %q", got)
	}
	for _, gone := range []string{"a1", "a3", "b5"} {
		h.reg.Destroy(rules[gone])
	}
	add("a0", "a3")
	rest, _ := getdents(t, fd, 4096)
	if got := entryNames(rest); !slices.Equal(got, []string{"b4", "b6", "a0", "a3"}) {
		t.Errorf("then %q, want the tables that came later, and none again", got)
	}
}

// TestEventsOutOfOrder delivers the events of tables in another order than they
// happened.
func TestEventsOutOfOrder(t *testing.T) {
	_, folder := newFilesystem(nil)
	var events []recent.Event
	reg := emptyModule(t).NewRegistry(func(e recent.Event) { events = append(events, e) })
	check := func(name string) *recent.Rule {
		rules, err := reg.CheckAll([]recent.Info{{CheckSet: recent.Set, Name: name, Mask: recent.AllOnes}})
		if err != nil {
			t.Fatal(err)
		}
		return rules[0]
	}
	reg.Destroy(check("old"))
	reg.Destroy(check("again"))
	check("again")
	check("new")
	slices.Reverse(events)
	for _, e := range events {
		folder.Update(e)
	}
	var got []string
	for _, e := range folder.list(0) {
		got = append(got, e.Name)
	}
	if want := []string{"again", "new"}; !slices.Equal(got, want) {
		t.Errorf("the folder lists %q, want %q", got, want)
	}
	for _, name := range []string{"old", "again", "new"} {
		if shown := folder.lookup(name, new(fuse.EntryOut)); shown != (reg.Table(name) != nil) {
			t.Errorf("%s is shown: %v", name, shown)
		}
	}
}

// TestEntriesOneByOne lists each directory with room for one entry at a time. Each
// entry comes once, the dots first.
func TestEntriesOneByOne(t *testing.T) {
	files, folder := newFilesystem(nil)
	reg := emptyModule(t).NewRegistry(folder.Update)
	table(t, reg, "foo")
	table(t, reg, "bar")
	tree, ns := newNamespaces(nowhere, nil)
	for _, name := range []string{"red", "blue"} {
		if _, err := ns.Add(name); err != nil {
			t.Fatal(err)
		}
	}
	module := newModuleFS(Module{}, nil)
	_, parameterFiles := ModuleFiles("")
	for i, path := range parameterFiles {
		parameterFiles[i] = filepath.Base(path)
	}
	for _, c := range []struct {
		name string
		fs   fuse.RawFileSystem
		node uint64
		want []string
	}{
		{"tables", files, fuse.FUSE_ROOT_ID, []string{"foo", "bar"}},
		{"namespaces", tree, fuse.FUSE_ROOT_ID, []string{nsName, SelfName}},
		{"folders", tree, ns.id(), []string{"red", "blue"}},
		{"module", module, fuse.FUSE_ROOT_ID, []string{SelfName, parametersName}},
		{"parameters", module, parametersID, parameterFiles},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for position := uint64(0); ; {
				// struct fuse_dirent: 24 bytes, and the name in full 8 bytes.
				out := fuse.NewDirEntryList(make([]byte, 24+24), position)
				if st := c.fs.ReadDir(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: c.node}, Offset: position}, out); !st.Ok() {
					t.Fatal(st)
				}
				b := out.Bytes()
				if len(b) == 0 {
					break
				}
				next := binary.NativeEndian.Uint64(b[8:])
				if next <= position {
					t.Fatalf("after position %d comes %d", position, next)
				}
				position = next
				got = append(got, string(b[24:24+binary.NativeEndian.Uint32(b[16:])]))
			}
			if want := append([]string{".", ".."}, c.want...); !slices.Equal(got, want) {
				t.Errorf("listed %q, want %q", got, want)
			}
		})
	}
}
