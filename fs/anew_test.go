package fs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// TestMountAnew has a server begin with what is no good. It says why, and mounts anew.
// What was open on the mount before fails, and nobody waits.
func TestMountAnew(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(h *holder)
		want  string
	}{
		{"only the device", func(h *holder) { h.held = h.held[h.deviceAt():][:1] }, "the 1 descriptors are not /dev/fuse and its memory"},
		{"no device", func(h *holder) { h.replace(h.deviceAt(), null(h.t)) }, "the 2 descriptors are not /dev/fuse and its memory"},
		{"two devices", func(h *holder) { h.replace(1-h.deviceAt(), h.held[h.deviceAt()]) }, "the 2 descriptors are not /dev/fuse and its memory"},
		{"a device that is not mounted", func(h *holder) { h.replace(h.deviceAt(), openFile(h.t, "/dev/fuse")) }, "the connection has ended"},
		{"memory of something else", func(h *holder) { h.replace(1-h.deviceAt(), null(h.t)) }, "memfd: it has 0 bytes, less than "},
		{"memory of a mount that was not made", func(h *holder) { h.patch(0, make([]byte, 32)) }, `the memory begins with "\x00`},
		{"another version of the connection", func(h *holder) { h.patch(8, []byte{99}) }, "the memory has version 99: this program knows version 1"},
		{"a connection that had not agreed", func(h *holder) { h.patch(12, []byte{0}) }, "ended before it had mounted"},
		{"another mount", func(h *holder) { h.patch(16, []byte{0xff, 0xff, 0, 0}) }, "the memory is that of another mount"},
		{"another size", func(h *holder) { h.patch(24, []byte{1}) }, "this program needs"},
		{"another version of the mount", func(h *holder) { h.patch(int64(h.size())-int64(keptSize), []byte{99}) }, "the mount's memory has version 99: this program knows version 2"},
		{"another kind of mount", func(h *holder) { h.patch(int64(h.size())-int64(keptSize)+4, []byte{namespacesKind}) },
			"it showed the tables of several namespaces, and is to show the tables of one namespace"},
		{"unmounted", func(h *holder) { h.umount(0) }, "the connection has ended"},
		{"unmounted by force", func(h *holder) { h.umount(unix.MNT_FORCE) }, "the connection has ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHolder(t, "a")
			h.sh("echo +192.0.2.1 > a")
			h.leave()
			c.spoil(h)
			h.start("")
			if said := h.ready(); !strings.Contains(said, c.want) {
				t.Errorf("the next server says %q, want %q", said, c.want)
			}
			if got := brief(h.sh("cat a; echo +192.0.2.2 > a; cat a")); got != "192.0.2.1*1 192.0.2.1*1 192.0.2.2*1" {
				t.Errorf("then the table shows %q", got)
			}
			if n := mounts(t, h.dir()); n != 1 {
				t.Errorf("%d mounts", n)
			}
		})
	}
}

// TestAnewEndsTheMountBefore has a file open on a mount with which no server can go on.
// The test still holds the descriptors.
func TestAnewEndsTheMountBefore(t *testing.T) {
	h := newHolder(t, "a")
	s := h.session()
	s.do("exec 3<a")
	h.leave()
	h.patch(8, []byte{99})
	s.begin("cat <&3")
	held := h.held
	h.held = copies(t, held)
	h.start("")
	if said := h.ready(); !strings.Contains(said, "version 99") {
		t.Errorf("the next server says %q", said)
	}
	if got := brief(s.end()); got != "Software caused connection abort" && got != "Transport endpoint is not connected" {
		t.Errorf("what was open says %q", got)
	}
	for _, f := range held {
		f.Close()
	}
}

// TestUnmountedMeanwhile detaches the mount while nobody serves it and a file is open
// on it. The next server mounts it again, and the file works.
func TestUnmountedMeanwhile(t *testing.T) {
	h := newHolder(t, "a")
	s := h.session()
	s.do("echo +192.0.2.1 > a; exec 3<a; exec 4>a")
	h.kill()
	h.umount(unix.MNT_DETACH)
	h.next()
	if got := brief(s.do("cat <&3; echo +192.0.2.2 >&4")); got != "192.0.2.1*1" {
		t.Errorf("the open file says %q", got)
	}
	if got := brief(h.sh("cat a")); got != "192.0.2.1*1 192.0.2.2*1" {
		t.Errorf("the table shows %q", got)
	}
}

// TestUnmountAdopted ends a mount that goes on with another. The directory that the
// first one made goes. No descriptor stays.
func TestUnmountAdopted(t *testing.T) {
	lab.NeedRoot(t)
	dir := filepath.Join(lab.TempDir(t), "mnt")
	before := 0
	for i := range 5 {
		first, _, err := Mounter{Keep: true}.Mount(dir)
		if err != nil {
			t.Fatal(err)
		}
		files, err := first.Files()
		if err := errors.Join(err, first.Leave(), first.Answer(), first.Leave(), first.Unmount()); err != nil {
			t.Fatal(err)
		}
		m, _, err := Mounter{Keep: true, Left: files}.Mount(dir)
		if err != nil || m.Anew() != nil {
			t.Fatal(err, m.Anew())
		}
		if err := errors.Join(m.Answer(), m.Unmount()); err != nil {
			t.Error(err)
		}
		if n := mounts(t, dir); n != 0 {
			t.Errorf("%d mounts left", n)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("the directory is still there")
		}
		now := lab.Descriptors(t)
		if i > 0 && now > before {
			t.Errorf("%d descriptors, before it was %d", now, before)
		}
		before = now
	}
}

// TestKeepFails mounts what outlives the process with too few descriptors, and on a
// directory with something in it.
func TestKeepFails(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	before := lab.Descriptors(t)
	lab.FewDescriptors(t, func() error {
		m, _, err := Mounter{Keep: true}.Mount(dir)
		if err == nil {
			err = m.Unmount()
		}
		return err
	}, func(error) {
		if n := mounts(t, dir); n != 0 {
			t.Errorf("%d mounts", n)
		}
	})
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (Mounter{Keep: true}).Mount(dir); err == nil {
		t.Error("it is mounted over a directory")
	}
	if now := lab.Descriptors(t); now != before {
		t.Errorf("%d descriptors are open, before it was %d", now, before)
	}
}

// TestRestoreAdopted has somebody unmount a mount that goes on with another. The one
// that Restore makes is a new connection, with which the next process goes on.
func TestRestoreAdopted(t *testing.T) {
	lab.NeedRoot(t)
	dir := filepath.Join(lab.TempDir(t), "mnt")
	tab := table(t, emptyModule(t).NewRegistry(nil), "foo")
	next := func(files []*os.File) *Mountpoint {
		t.Helper()
		m, folder, err := Mounter{Keep: true, Left: files}.Mount(dir)
		if err != nil || m.Anew() != nil {
			t.Fatal(err, m.Anew())
		}
		folder.Update(recent.Event{Table: tab})
		if err := m.Answer(); err != nil {
			t.Fatal(err)
		}
		return m
	}
	leave := func(m *Mountpoint) []*os.File {
		t.Helper()
		files, err := m.Files()
		if err := errors.Join(err, m.Leave(), m.Unmount()); err != nil {
			t.Fatal(err)
		}
		return files
	}
	second := next(leave(next(nil)))
	if got := shell(dir, 0, "echo +192.0.2.1 > foo; cat foo"); addresses(got) != "192.0.2.1" {
		t.Errorf("the table shows %q", got)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	<-second.Ended()
	if second.kept.opens.used == 0 {
		t.Error("no file was open")
	}
	if restored, err := second.Restore(); !restored || err != nil {
		t.Fatal(restored, err)
	}
	if second.kept.opens.used != 0 {
		t.Error("files are open on the new mount")
	}
	third := next(leave(second))
	if got := shell(dir, 0, "cat foo"); addresses(got) != "192.0.2.1" {
		t.Errorf("the table shows %q", got)
	}
	if err := third.Unmount(); err != nil {
		t.Error(err)
	}
}

func null(t *testing.T) *os.File { return openFile(t, os.DevNull) }

func openFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func copies(t *testing.T, files []*os.File) (all []*os.File) {
	t.Helper()
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, os.NewFile(uintptr(fd), "copy"))
	}
	return all
}

// replace replaces a descriptor that is held.
func (h *holder) replace(i int, by *os.File) {
	h.held[i].Close()
	h.held[i] = by
}

// deviceAt is which of the descriptors is the device.
func (h *holder) deviceAt() int {
	h.t.Helper()
	for i, f := range h.held {
		info, err := f.Stat()
		if err != nil {
			h.t.Fatal(err)
		}
		if info.Mode()&os.ModeCharDevice != 0 {
			return i
		}
	}
	h.t.Fatal("no device")
	return 0
}

func (h *holder) size() int64 {
	h.t.Helper()
	info, err := h.held[1-h.deviceAt()].Stat()
	if err != nil {
		h.t.Fatal(err)
	}
	return info.Size()
}

// patch changes the memory.
func (h *holder) patch(at int64, b []byte) {
	h.t.Helper()
	if _, err := h.held[1-h.deviceAt()].WriteAt(b, at); err != nil {
		h.t.Fatal(err)
	}
}

func (h *holder) umount(flags int) {
	h.t.Helper()
	if err := unix.Unmount(h.dir(), flags); err != nil {
		h.t.Fatal(err)
	}
}
