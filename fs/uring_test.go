package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// fill makes the table foo with so many entries and returns its text.
func fill(t *testing.T, h *shown, entries int) string {
	t.Helper()
	h.rule(t, "foo")
	fd, err := unix.Open(h.path("foo"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for i := range entries {
		if _, err := unix.Pwrite(fd, fmt.Appendf(nil, "+10.0.%d.%d", i>>8, i&255), 0); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(h.path("foo"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func newRing(t *testing.T, flags uint32) *lab.Ring {
	t.Helper()
	r, err := lab.NewRing(flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// opens opens the table foo for reading, by open(2) or by a ring.
func opens(t *testing.T, h *shown, by *lab.Ring) int {
	t.Helper()
	open := func(path string) (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) }
	if by != nil {
		open = by.Open
	}
	fd, err := open(h.path("foo"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// readAll reads to the end. offset tells that of a read after so many bytes.
func readAll(t *testing.T, r *lab.Ring, fd, size, most int, flags uint8, offset func(n int) int64) string {
	t.Helper()
	var got strings.Builder
	buf := make([]byte, size)
	for got.Len() <= most {
		result, err := r.ReadAll(fd, flags, lab.RingRead{Buf: buf, Off: offset(got.Len())})
		if err == nil {
			err = result[0].Err
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", got.Len(), err)
		}
		if result[0].N == 0 {
			break
		}
		got.Write(buf[:result[0].N])
	}
	return got.String()
}

func itsOffset(n int) int64 { return int64(n) }
func thePosition(int) int64 { return lab.AtPosition }

var rings = []struct {
	name       string
	ring       uint32 // flags
	flags      uint8  // of a request
	opens      bool   // the ring opens the file
	atPosition bool   // a read at the position goes on
}{
	{name: "inline"},
	{name: "inline, opened by the ring", opens: true},
	{name: "a worker", flags: lab.AsyncRead},
	{name: "polled", ring: lab.PolledRing},
	{name: "polled, opened by the ring", ring: lab.PolledRing, opens: true, atPosition: true},
}

// TestReadsByRing reads a table by io_uring, which must find what read(2) finds.
func TestReadsByRing(t *testing.T) {
	h := modern(t)
	want := fill(t, h, 100)
	for _, c := range rings {
		r := newRing(t, c.ring)
		by := r
		if !c.opens {
			by = nil
		}
		for _, size := range []int{100, 4096, 8192, 64 << 10, 512 << 10, 1 << 20, 3<<20 + 5} {
			t.Run(fmt.Sprint(c.name, " ", size), func(t *testing.T) {
				fd := opens(t, h, by)
				// The second time after the end was found.
				for range 2 {
					if got := readAll(t, r, fd, size, len(want), c.flags, itsOffset); got != want {
						t.Errorf("%d bytes, want %d that read(2) reads", len(got), len(want))
					}
				}
				if !c.atPosition {
					return
				}
				if got := readAll(t, r, opens(t, h, by), size, len(want), c.flags, thePosition); got != want {
					t.Errorf("%d bytes at the position, want %d that read(2) reads", len(got), len(want))
				}
			})
		}
	}
}

// TestReadsOfRingAtOnce has several reads of one file under way.
func TestReadsOfRingAtOnce(t *testing.T) {
	h := modern(t)
	want := fill(t, h, 100)
	r := newRing(t, 0)
	fd := opens(t, h, nil)
	for _, size := range []int{100, 1000, 4096, 64 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var reads []lab.RingRead
			for i := range 16 {
				reads = append(reads, lab.RingRead{Buf: make([]byte, size), Off: int64(i * 301)})
			}
			results, err := r.ReadAll(fd, 0, reads...)
			if err != nil {
				t.Fatal(err)
			}
			for i, read := range reads {
				n, err := results[i].N, results[i].Err
				if got := string(read.Buf[:n]); err != nil || n == 0 || !strings.HasPrefix(want[read.Off:], got) {
					t.Errorf("at %d: %d bytes (%v), begins with %.40q", read.Off, n, err, got)
				}
			}
		})
	}
}

// TestRingReadsTheSameAgain reads the same offset often, which is no read at the
// position.
func TestRingReadsTheSameAgain(t *testing.T) {
	h := modern(t)
	want := fill(t, h, 100)
	for _, c := range rings {
		t.Run(c.name, func(t *testing.T) {
			r := newRing(t, c.ring)
			by := r
			if !c.opens {
				by = nil
			}
			fd, buf := opens(t, h, by), make([]byte, 64<<10)
			if c.atPosition { // by its first reads it is known
				readAll(t, r, fd, len(buf), len(want), c.flags, itsOffset)
			}
			for i := range 100 {
				result, err := r.ReadAll(fd, c.flags, lab.RingRead{Buf: buf})
				if err != nil {
					t.Fatal(err)
				}
				if got := string(buf[:result[0].N]); got != want {
					t.Fatalf("read %d: %d bytes (%v), want %d", i, len(got), result[0].Err, len(want))
				}
			}
		})
	}
}

// TestTheSameAgain is TestRingReadsTheSameAgain without a ring, and more often
// than a ring may read.
func TestTheSameAgain(t *testing.T) {
	h := modern(t)
	want := fill(t, h, 5)
	fd, buf := opens(t, h, nil), make([]byte, 1000)
	for name, read := range map[string]func() (int, error){
		"pread": func() (int, error) { return unix.Pread(fd, buf, 0) },
		"seek and read": func() (int, error) {
			if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
				return 0, err
			}
			return unix.Read(fd, buf)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range repeatLimit + 100 {
				if n, err := read(); err != nil || string(buf[:n]) != want {
					t.Fatalf("read %d: %d bytes (%v), want %d", i, n, err, len(want))
				}
			}
		})
	}
}

// TestRingAtPositionEnds reads at the position, which such a ring does not move.
func TestRingAtPositionEnds(t *testing.T) {
	h := modern(t)
	fill(t, h, 5)
	for _, c := range rings {
		if c.atPosition {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := newRing(t, c.ring)
			by := r
			if !c.opens {
				by = nil
			}
			fd, buf := opens(t, h, by), make([]byte, 1000)
			for range 10 * repeatLimit {
				result, err := r.ReadAll(fd, c.flags, lab.RingRead{Buf: buf, Off: lab.AtPosition})
				switch {
				case err != nil:
					t.Fatal(err)
				case result[0].Err == unix.ESPIPE, result[0].Err == nil && result[0].N == 0: // an older kernel moves it
					return
				case result[0].Err != nil:
					t.Fatal(result[0].Err)
				}
			}
			t.Error("it does not end")
		})
	}
}

// counted counts READs.
type counted struct {
	*filesystem
	reads atomic.Int32
}

func (c *counted) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	c.reads.Add(1)
	return c.filesystem.Read(cancel, in, buf)
}

// TestLongReadByRing reads into a long buffer. In pieces it would take long, since
// all pieces but the first are thrown away.
func TestLongReadByRing(t *testing.T) {
	lab.NeedRoot(t)
	fs, folder := newFilesystem(nil)
	c := &counted{filesystem: fs}
	m, err := Mounter{}.mount(filepath.Join(lab.TempDir(t), "xt_recent"), folderKind, func(*kept) (fuse.RawFileSystem, *filesystem) { return c, fs })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	})
	lab.WarmMount(t, m.Dir())
	h := &shown{dir: m.Dir(), m: m}
	h.reg = newModule(t, recent.DefaultParams(recent.Modern), jiffies.NewManual(1000, 100)).NewRegistry(folder.Update)
	want := len(fill(t, h, 100))
	buf, err := unix.Mmap(-1, 0, device.MaxRead, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(buf) })
	fd := opens(t, h, nil)
	before := c.reads.Load()
	if n, err := newRing(t, 0).Read(fd, buf, 0); n != want || err != nil {
		t.Errorf("%d bytes (%v), want %d", n, err, want)
	}
	if n := c.reads.Load() - before; n != 1 {
		t.Errorf("%d READs, want 1", n)
	}
}
