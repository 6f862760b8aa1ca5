package fs

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// table is a table with its first rule, until the test ends.
func table(t testing.TB, reg *recent.Registry, name string) *recent.Table {
	t.Helper()
	rules, err := reg.CheckAll([]recent.Info{{CheckSet: recent.Set, Name: name, Mask: recent.AllOnes}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Destroy(rules[0]) })
	return reg.Table(name)
}

// TestReadGivesLittle asks for more than one read gives. An answer is short, since
// packets wait for the processor that forms it.
func TestReadGivesLittle(t *testing.T) {
	const line, entries = len("src=10.0.0.0 ttl: 0 last_seen: 1000 oldest_pkt: 1 1000\n"), 2000
	p := recent.DefaultParams(recent.Classic)
	p.ListTot = entries
	h := &handle{table: table(t, newModule(t, p, jiffies.NewManual(1000, 100)).NewRegistry(nil), "t"), keptOpen: new(keptOpen), user: new(user)}
	for i := range entries {
		if _, _, err := h.table.Write(fmt.Appendf(nil, "+10.0.%d.%d", i/10, i%10), 0); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, device.MaxRead)
	for pos := int64(0); ; {
		n, err := h.read(buf, pos, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n < recent.AnswerSize-2*line { // the last
			if pos+int64(n) < entries*int64(line) {
				t.Errorf("%d bytes at %d, before the end", n, pos)
			}
			return
		}
		if n > recent.AnswerSize+2*line || buf[n-1] != '\n' {
			t.Fatalf("%d bytes at %d, up to %q", n, pos, buf[n-1])
		}
		pos += int64(n)
	}
}

// FuzzHandle does the same to two tables: to one as procfs does, where the module
// moves the position, and to the other through a handle, as FUSE does, where the
// kernel moves it. Each byte is an operation. Seeks go to the start only, since a
// handle does not see others.
func FuzzHandle(f *testing.F) {
	writes := []string{"+1.2.3.4\n", "-1.2.3.4", "+5.6.7.8", "+::1\n", "/", "/\n", "", "x", "+1.2.3", "+2001:0db8:1111:2222:3333:4444:5555:6666 and more"}
	reads := []int{1, 10, 100, 5000}
	f.Fuzz(func(t *testing.T, ops []byte) {
		reg := newModule(t, recent.DefaultParams(recent.Modern), jiffies.NewManual(4294900000, 100)).NewRegistry(nil)
		procfs := table(t, reg, "procfs")
		cursor, pos := procfs.Cursor(), int64(0)
		h, off := &handle{table: table(t, reg, "fuse"), keptOpen: new(keptOpen), user: new(user)}, int64(0)
		for i, op := range ops[:min(len(ops), 100)] {
			switch op := int(op); {
			case op < len(writes):
				data := []byte(writes[op])
				want, next, wantErr := procfs.Write(data, pos)
				got, err := h.write(nil, data, off, false, 0)
				if got != want || !errors.Is(err, wantErr) {
					t.Fatalf("%d: write %q: %d, %v; want %d, %v", i, data, got, err, want, wantErr)
				}
				pos, off = next, off+int64(got)
			case op < len(writes)+len(reads):
				size := reads[op-len(writes)]
				want, got := make([]byte, size), make([]byte, size)
				wantN, wantErr := cursor.ReadAt(want, pos)
				n, err := h.read(got, off, 0, 0)
				if n != wantN || string(got) != string(want) || !errors.Is(err, wantErr) {
					t.Fatalf("%d: read %d: %q, %v; want %q, %v", i, size, got[:n], err, want[:wantN], wantErr)
				}
				pos, off = pos+int64(n), off+int64(n)
			default:
				pos, off = 0, 0
			}
		}
	})
}

// TestOddRequests sends requests that the kernel does not send. Each must get an
// error or an empty answer.
func TestOddRequests(t *testing.T) {
	fs, folder := newFilesystem(nil)
	reg := emptyModule(t).NewRegistry(folder.Update)
	tab := table(t, reg, "foo")
	const none = 1 << 40
	header := func(node uint64) fuse.InHeader { return fuse.InHeader{NodeId: node} }
	var opened fuse.OpenOut
	if st := fs.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, "foo", new(fuse.EntryOut)); !st.Ok() {
		t.Fatal(st)
	}
	if st := fs.Open(nil, &fuse.OpenIn{InHeader: header(1 + tab.ID()), Flags: unix.O_WRONLY}, &opened); !st.Ok() {
		t.Fatal(st)
	}
	list := func(node, off uint64, size int) int {
		out := fuse.NewDirEntryList(make([]byte, size), off)
		if st := fs.ReadDir(nil, &fuse.ReadIn{InHeader: header(node), ReadFlags: fuse.READ_LOCKOWNER, Offset: off}, out); !st.Ok() {
			t.Errorf("listing: %v", st)
		}
		return len(out.Bytes())
	}
	var dir fuse.OpenOut
	fs.OpenDir(nil, &fuse.OpenIn{InHeader: header(fuse.FUSE_ROOT_ID)}, &dir)
	read := func(fh, off uint64, size int) fuse.Status {
		_, st := fs.Read(nil, &fuse.ReadIn{ReadFlags: fuse.READ_LOCKOWNER, Fh: fh, Offset: off}, make([]byte, size))
		return st
	}
	write := func(fh, off uint64, data string) fuse.Status {
		_, st := fs.Write(nil, &fuse.WriteIn{Fh: fh, Offset: off}, []byte(data))
		return st
	}
	for _, c := range []struct {
		name string
		got  fuse.Status
		want fuse.Status
	}{
		{"lookup in a file", fs.Lookup(nil, &fuse.InHeader{NodeId: 1 + tab.ID()}, "foo", new(fuse.EntryOut)), fuse.ENOTDIR},
		{"lookup in no directory", fs.Lookup(nil, &fuse.InHeader{NodeId: none}, "foo", new(fuse.EntryOut)), fuse.Status(unix.ESTALE)},
		{"listing of no directory", fs.OpenDir(nil, &fuse.OpenIn{InHeader: header(none)}, new(fuse.OpenOut)), fuse.Status(unix.ESTALE)},
		{"listing of a file", fs.OpenDir(nil, &fuse.OpenIn{InHeader: header(1 + tab.ID())}, new(fuse.OpenOut)), fuse.ENOTDIR},
		{"lookup of nothing", fs.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, "", new(fuse.EntryOut)), fuse.ENOENT},
		{"attributes of no node", fs.GetAttr(nil, &fuse.GetAttrIn{InHeader: header(none)}, new(fuse.AttrOut)), fuse.Status(unix.ESTALE)},
		{"change of no node", fs.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: header(none)}}, new(fuse.AttrOut)), fuse.Status(unix.ESTALE)},
		{"open of no node", fs.Open(nil, &fuse.OpenIn{InHeader: header(none)}, new(fuse.OpenOut)), fuse.Status(unix.ESTALE)},
		{"open of the root", fs.Open(nil, &fuse.OpenIn{InHeader: header(fuse.FUSE_ROOT_ID)}, new(fuse.OpenOut)), fuse.Status(unix.ESTALE)},
		{"read of no handle", read(none, 0, 10), fuse.EBADF},
		{"read of nothing", read(opened.Fh, 0, 0), fuse.OK},
		{"read from the last position", read(opened.Fh, 1<<63-1, 10), fuse.OK},
		{"read from a negative position", read(opened.Fh, 1<<64-1, 10), fuse.OK},
		{"read of a directory's handle", read(dir.Fh, 0, 10), fuse.EBADF},
		{"write to no handle", write(none, 0, "/"), fuse.EBADF},
		{"write of nothing", write(opened.Fh, 0, ""), fuse.OK},
		{"write at a negative position", write(opened.Fh, 1<<64-1, "/"), fuse.Status(unix.ESPIPE)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	for _, c := range []struct {
		name      string
		node, off uint64
		size      int
		something bool
	}{
		{"no node", none, 2, 4096, false},
		{"a file", 1 + tab.ID(), 2, 4096, false},
		{"the root from its start", fuse.FUSE_ROOT_ID, 0, 4096, true},
		{"the root into nothing", fuse.FUSE_ROOT_ID, 0, 0, false},
		{"the root into too little", fuse.FUSE_ROOT_ID, 2, 20, false},
		{"the root after its dots", fuse.FUSE_ROOT_ID, 2, 4096, true},
		{"the root after its end", fuse.FUSE_ROOT_ID, 3, 4096, false},
		{"the root far after its end", fuse.FUSE_ROOT_ID, 1<<64 - 1, 4096, false},
	} {
		if n := list(c.node, c.off, c.size); n > 0 != c.something {
			t.Errorf("listing %s: %d bytes", c.name, n)
		}
	}
	fs.Release(nil, &fuse.ReleaseIn{Fh: none})
	fs.ReleaseDir(&fuse.ReleaseIn{Fh: none})
}

// TestReleaseGivesBack opens a file, reads a piece of a long line and closes the
// file, more often than all open files together may keep such a line. One more
// file still keeps its line after the table was emptied.
func TestReleaseGivesBack(t *testing.T) {
	const stamps = 60000
	fs, folder := newFilesystem(nil)
	reg := newModule(t, recent.DefaultParams(recent.Modern), jiffies.NewManual(1000, 100)).NewRegistry(folder.Update)
	tab := table(t, reg, "foo")
	if _, err := reg.CheckAll([]recent.Info{{CheckSet: recent.Check, HitCount: stamps, Name: "foo", Mask: recent.AllOnes}}); err != nil {
		t.Fatal(err)
	}
	for range stamps {
		if _, _, err := tab.Write([]byte("+192.0.2.1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if st := fs.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, "foo", new(fuse.EntryOut)); !st.Ok() {
		t.Fatal(st)
	}
	open := func() uint64 {
		var opened fuse.OpenOut
		if st := fs.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: 1 + tab.ID()}}, &opened); !st.Ok() {
			t.Fatal(st)
		}
		return opened.Fh
	}
	read := func(fh, off uint64) int {
		r, st := fs.Read(nil, &fuse.ReadIn{ReadFlags: fuse.READ_LOCKOWNER, Fh: fh, Offset: off}, make([]byte, 100))
		if !st.Ok() {
			t.Fatal(st)
		}
		return r.Size()
	}
	for range 200 {
		fh := open()
		read(fh, 0)
		fs.Release(nil, &fuse.ReleaseIn{InHeader: fuse.InHeader{NodeId: 1 + tab.ID()}, Fh: fh})
	}
	fh := open()
	read(fh, 0)
	if _, _, err := tab.Write([]byte("/"), 0); err != nil {
		t.Fatal(err)
	}
	if n := read(fh, 100); n != 100 {
		t.Errorf("%d bytes of a line that was begun, want 100", n)
	}
}

// BenchmarkEcho does what a shell does for each echo of a script.
func BenchmarkEcho(b *testing.B) {
	h := modern(b)
	h.rule(b, "foo")
	for b.Loop() {
		fd, err := unix.Open(h.path("foo"), unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Write(fd, []byte("+1.2.3.4\n")); err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
}

func BenchmarkWrite(b *testing.B) {
	h := modern(b)
	h.rule(b, "foo")
	f, err := os.OpenFile(h.path("foo"), os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		if _, err := f.WriteAt([]byte("+1.2.3.4\n"), 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	h := modern(b)
	h.rule(b, "foo")
	for i := range 100 {
		if _, _, err := h.reg.Table("foo").Write(fmt.Appendf(nil, "+1.2.3.%d", i), 0); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		text, err := os.ReadFile(h.path("foo"))
		if err != nil || len(text) == 0 {
			b.Fatal(len(text), err)
		}
	}
}
