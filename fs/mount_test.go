package fs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

func emptyModule(t testing.TB) *recent.Module {
	return newModule(t, recent.DefaultParams(recent.Modern), jiffies.NewManual(1000, 100))
}

func TestMountInfo(t *testing.T) {
	h := modern(t)
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, " "+h.dir+" ") {
			continue
		}
		for _, want := range []string{"nosuid,nodev,noexec", "fuse.recentfs recentfs ", "default_permissions", "allow_other"} {
			if !strings.Contains(line, want) {
				t.Errorf("mountinfo says %q, want %q in it", line, want)
			}
		}
		return
	}
	t.Errorf("mountinfo does not name %s", h.dir)
}

func TestMountPoints(t *testing.T) {
	lab.NeedRoot(t)
	base := lab.TempDir(t)
	file, full := filepath.Join(base, "file"), filepath.Join(base, "full")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(full, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(base, "fifo")
	if err := errors.Join(os.Mkdir(fifo, 0o755), unix.Mkfifo(fifo+"/x", 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(base, "dangling")); err != nil {
		t.Fatal(err)
	}
	// A directory whose path without links is longer than the kernel prints (do_proc_readlink).
	long, step := base, "/"+strings.Repeat("d", 200)
	for range 2 {
		if err := os.MkdirAll(long+strings.Repeat(step, 12), 0o755); err != nil {
			t.Fatal(err)
		}
		link := long + "/link"
		if err := os.Symlink(strings.TrimPrefix(strings.Repeat(step, 12), "/"), link); err != nil {
			t.Fatal(err)
		}
		long = link
	}
	for _, c := range []struct{ name, dir, want string }{
		{"path too long without its links", long, "file name too long: choose another"},
		{"file", file, "is not a directory: name one"},
		{"under a file", file + "/x", "not a directory: choose another"},
		{"not empty", full, `is not empty ("x" is in it): choose an empty directory`},
		{"a FIFO in it", fifo, `is not empty ("x" is in it): choose an empty directory`},
		{"dangling link", base + "/dangling", "file exists: choose another"},
		{"name too long", base + "/" + strings.Repeat("x", 300), "file name too long: choose another"},
		{"cannot be made", "/proc/recentfs/x", "cannot be made: mkdir /proc/recentfs: no such file or directory: choose another"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind, mount := range kinds {
				m, err := mount(c.dir)
				if err == nil {
					m.Unmount()
					t.Fatalf("%s is mounted", kind)
				}
				if m != nil || !strings.Contains(err.Error(), c.dir) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want %q", kind, err, c.want)
				}
			}
		})
	}
	if left, _ := os.ReadDir(base); len(left) != 6 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMountMakesItsDirectory(t *testing.T) {
	lab.NeedRoot(t)
	base := lab.TempDir(t)
	link := filepath.Join(base, "link")
	if err := os.Symlink(base, link); err != nil {
		t.Fatal(err)
	}
	defer unix.Umask(unix.Umask(0o077))
	m, _, err := Mount(link + "/with space/\\040/xt_recent")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(base + "/with space"); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the directory above is %v, %v, want 755 whatever the umask is", info, err)
	}
	umount(t, m.Dir(), unix.MNT_DETACH)
	if info, err := os.Stat(m.Dir()); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the directory under the mount is %v, %v, want 755", info, err)
	}
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
	if err := m.Unmount(); err != nil {
		t.Errorf("again: %v", err)
	}
	if left, _ := os.ReadDir(base); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMountOverDead(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	for range 3 {
		kill(mountElsewhere(t, dir))
	}
	m, _, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
	if n := mounts(t, dir); n != 0 {
		t.Errorf("%d mounts are still there", n)
	}
}

func TestMountOverLive(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	mountElsewhere(t, dir)
	m, _, err := Mount(dir)
	if err == nil {
		m.Unmount()
		t.Fatal("mounted")
	}
	if want := dir + ": another recentfs is mounted there: stop it"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

func TestUnmountWhileInUse(t *testing.T) {
	h := modern(t)
	h.rule(t, "foo")
	f, err := os.Open(h.path("foo"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.m.Unmount(); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), h.dir) {
		t.Errorf("unmount of a mount in use: %v, want EBUSY", err)
	}
	if n := mounts(t, h.dir); n != 0 {
		t.Errorf("still mounted, %d times", n)
	}
	if _, err := f.Read(make([]byte, 10)); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("reading the open file: %v, want the end of an empty table", err)
	}
	f.Close()
	<-h.m.Ended()
}

func TestUnmountBySomeoneElse(t *testing.T) {
	h := modern(t)
	rule := h.rule(t, "foo")
	if err := unix.Stat(h.path("foo"), &unix.Stat_t{}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(h.dir, 0); err != nil {
		t.Fatal(err)
	}
	<-h.m.Ended()
	h.reg.Destroy(rule)
	if err := h.m.Unmount(); err != nil {
		t.Errorf("unmount of what is unmounted: %v", err)
	}
}

// TestUnmountDead unmounts after an umount -f that leaves the mount where it is, dead.
func TestUnmountDead(t *testing.T) {
	h := modern(t)
	h.rule(t, "foo")
	f, err := os.Open(h.path("foo"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Unmount(h.dir, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) || mounts(t, h.dir) != 1 {
		t.Fatalf("umount -f: %v, and %d mounts", err, mounts(t, h.dir))
	}
	<-h.m.Ended()
	if err := h.m.Unmount(); err != nil {
		t.Error(err)
	}
	if n := mounts(t, h.dir); n != 0 {
		t.Errorf("still mounted, %d times", n)
	}
}

func TestUnmountUnderAnother(t *testing.T) {
	h := modern(t)
	if err := unix.Mount("tmpfs", h.dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	err := h.m.Unmount()
	if want := "tmpfs is mounted over it"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if err := unix.Unmount(h.dir, 0); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	m := &Site{Dir: "/x"}
	for _, c := range []struct {
		err  error
		want string
	}{
		{m.mountError(unix.EPERM), "mount point /x: mount: operation not permitted: run as root (CAP_SYS_ADMIN)"},
		{m.mountError(unix.ENODEV), "mount point /x: mount: no such device: this kernel has no FUSE"},
	} {
		if !strings.HasPrefix(c.err.Error(), c.want) {
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
}
