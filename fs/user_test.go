package fs

import (
	"runtime"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// openAs opens a file as a user.
func openAs(fs *filesystem, node uint64, uid uint32, flags uint32) (fh uint64, st fuse.Status) {
	in := fuse.OpenIn{InHeader: fuse.InHeader{NodeId: node, Unique: 2, Caller: fuse.Caller{Owner: fuse.Owner{Uid: uid}}}, Flags: flags}
	var out fuse.OpenOut
	st = fs.Open(nil, &in, &out)
	return out.Fh, st
}

// TestOpenFilesOfOneUser has a user open files until no more are allowed, over several
// processes. It does not matter to root and to other users.
func TestOpenFilesOfOneUser(t *testing.T) {
	kept := new(kept)
	tab := table(t, emptyModule(t).NewRegistry(nil), "t")
	var node uint64
	start := func() *filesystem {
		fs, folder := newFilesystem(kept)
		folder.Update(recent.Event{Table: tab})
		fs.settle()
		node = folder.fileID(tab)
		return fs
	}
	const somebody, other = 1000, 1001
	may := func(fs *filesystem, uid uint32, flags uint32, want fuse.Status) (fh uint64) {
		t.Helper()
		fh, st := openAs(fs, node, uid, flags)
		if st != want {
			t.Fatalf("user %d opens a file: %v, want %v", uid, st, want)
		}
		return fh
	}
	fs := start()
	var last uint64
	for i := range maxOpen {
		last = may(fs, somebody, []uint32{unix.O_RDONLY, unix.O_WRONLY}[i%2], fuse.OK)
	}
	for range 2 { // the second time as the next process
		may(fs, somebody, unix.O_RDONLY, fuse.Status(unix.EMFILE))
		may(fs, somebody, unix.O_WRONLY, fuse.Status(unix.EMFILE))
		released(fs, node, last, unix.O_RDONLY)
		last = may(fs, somebody, unix.O_RDONLY, fuse.OK)
		may(fs, somebody, unix.O_RDONLY, fuse.Status(unix.EMFILE))
		released(fs, node, may(fs, other, unix.O_RDONLY, fuse.OK), unix.O_RDONLY)
		fs = start()
	}
	for range maxOpen + 1 {
		may(fs, 0, unix.O_RDONLY, fuse.OK)
	}
	may(fs, somebody, unix.O_RDONLY, fuse.Status(unix.EMFILE))
	for fh := range fs.handles {
		released(fs, node, fh, unix.O_RDONLY)
	}
	if len(fs.users) != 0 || len(fs.handles) != 0 {
		t.Errorf("left are users %v, files %v", fs.users, fs.handles)
	}
}

// TestMemoryOfOneUser has a user open as many files as are allowed, and read from each
// a part of a line, which is long. Our memory is bounded.
func TestMemoryOfOneUser(t *testing.T) {
	const most = 24 << 20
	p := recent.DefaultParams(recent.Classic)
	p.PktListTot = 255
	tab := table(t, newModule(t, p, jiffies.NewManual(1<<63, 100)).NewRegistry(nil), "t")
	for range 255 {
		if _, _, err := tab.Write([]byte("+192.0.2.1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	fs, folder := newFilesystem(nil)
	folder.Update(recent.Event{Table: tab})
	node := folder.fileID(tab)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var line strings.Builder
	for range maxOpen {
		fh, st := openAs(fs, node, 1000, unix.O_RDONLY)
		if !st.Ok() {
			t.Fatal(st)
		}
		line.Reset()
		for _, size := range []int{100, 200} {
			text, st := readAt(fs, node, fh, 0, int64(line.Len()), size)
			if line.WriteString(text); !st.Ok() || len(text) != size {
				t.Fatalf("%q, %v", text, st)
			}
		}
	}
	if grown := int64(heap()) - int64(before); grown > most {
		t.Errorf("%d files take %d KB, want %d at most", maxOpen, grown>>10, most>>10)
	} else {
		t.Logf("%d files take %d KB", maxOpen, grown>>10)
	}
	if !strings.HasPrefix(line.String(), "src=192.0.2.1 ttl: 0 last_seen: 9223372036854775808 oldest_pkt: ") {
		t.Errorf("the last one has read %q", line.String())
	}
	for fh := range fs.handles {
		released(fs, node, fh, unix.O_RDONLY)
	}
	runtime.KeepAlive(fs)
}
