package fs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// umount is umount2(2), which must succeed.
func umount(t *testing.T, dir string, flags int) {
	t.Helper()
	if err := unix.Unmount(dir, flags); err != nil {
		t.Fatalf("umount %s: %v", dir, err)
	}
}

// bind is mount --bind until the test ends, or until it is unmounted.
func bind(t *testing.T, from, to string) {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
}

// restore restores the mount. It waits until a connection that is about to end has
// ended.
func (h *shown) restore(t *testing.T) {
	t.Helper()
	lab.Eventually(t, "there is something to restore", func() error {
		restored, err := h.m.Restore()
		if err != nil {
			t.Fatal(err)
		}
		if !restored {
			return errors.New("the mount is there")
		}
		return nil
	})
	lab.WarmMount(t, h.dir)
}

// TestRestore unmounts in each way. The files stay what they are, and what the
// kernel lets live of the old mount goes on to work.
func TestRestore(t *testing.T) {
	for _, c := range []struct {
		name   string
		open   bool // a descriptor is open meanwhile
		dead   bool // and fails from then on
		umount func(t *testing.T, h *shown)
	}{
		{name: "umount", umount: func(t *testing.T, h *shown) { umount(t, h.dir, 0) }},
		{name: "umount -l", umount: func(t *testing.T, h *shown) { umount(t, h.dir, unix.MNT_DETACH) }},
		{name: "umount -l in use", open: true, umount: func(t *testing.T, h *shown) { umount(t, h.dir, unix.MNT_DETACH) }},
		{name: "umount -f", umount: func(t *testing.T, h *shown) { umount(t, h.dir, unix.MNT_FORCE) }},
		{name: "umount -f in use", open: true, dead: true, umount: func(t *testing.T, h *shown) {
			if err := unix.Unmount(h.dir, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) {
				t.Errorf("umount -f: %v", err)
			}
		}},
		{name: "the connection is aborted", open: true, dead: true, umount: func(t *testing.T, h *shown) { abort(t, h.dir) }},
		{name: "umount -l, and the directory is removed", open: true, umount: func(t *testing.T, h *shown) {
			umount(t, h.dir, unix.MNT_DETACH)
			if err := os.RemoveAll(filepath.Dir(h.dir)); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := modern(t)
			rule := h.rule(t, "foo")
			write(t, h.path("foo"), "+192.0.2.1")
			if err := unix.Chmod(h.path("foo"), 0o600); err != nil {
				t.Fatal(err)
			}
			node := inode(t, h.path("foo"))
			var files []*os.File // open ones
			for round := range 3 {
				if c.open {
					f, err := os.OpenFile(h.path("foo"), os.O_RDWR, 0)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					files = append(files, f)
				}
				c.umount(t, h)
				h.restore(t)
				if n := mounts(t, h.dir); n != 1 {
					t.Fatalf("round %d: %d mounts on the directory, want 1", round, n)
				}
				if restored, err := h.m.Restore(); err != nil || restored {
					t.Errorf("once more: %v, %v", restored, err)
				}
				if got := inode(t, h.path("foo")); got != node {
					t.Errorf("the file is inode %d and was %d", got, node)
				}
				if fi, err := os.Stat(h.path("foo")); err != nil || fi.Mode() != 0o600 {
					t.Errorf("its mode is %v, %v", fi.Mode(), err)
				}
				if got := content(t, h.path("foo")); got != "192.0.2.1" {
					t.Errorf("the table has %q", got)
				}
				for _, f := range files {
					want := error(nil)
					if c.dead {
						want = unix.ENOTCONN
					}
					if _, err := f.WriteAt([]byte("+192.0.2.2"), 0); !errors.Is(err, want) {
						t.Errorf("a write to an open file: %v, want %v", err, want)
					}
				}
				if got := strings.Contains(content(t, h.path("foo")), "192.0.2.2"); got != (c.open && !c.dead) {
					t.Errorf("it was written to the table: %v", got)
				}
				write(t, h.path("foo"), "-192.0.2.2")
			}
			h.reg.Destroy(rule)
			for _, f := range files {
				want := error(unix.EIO) // its table is gone
				if c.dead {
					want = unix.ENOTCONN
				}
				if _, err := f.WriteAt([]byte("/"), 0); !errors.Is(err, want) {
					t.Errorf("a write to an open file of a table that is gone: %v, want %v", err, want)
				}
				f.Close()
			}
			if err := unix.Stat(h.path("foo"), &unix.Stat_t{}); !errors.Is(err, unix.ENOENT) {
				t.Errorf("a table that is gone: %v, want ENOENT", err)
			}
			if err := h.m.Unmount(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(h.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the directory that Mount made: %v", err)
			}
		})
	}
}

// TestRestoreKeepsBinds has a file and the directory of a mount bound elsewhere, as
// containers do, when somebody unmounts it.
func TestRestoreKeepsBinds(t *testing.T) {
	for name, flags := range map[string]int{"umount": 0, "umount -l": unix.MNT_DETACH} {
		t.Run(name, func(t *testing.T) {
			h := modern(t)
			rule := h.rule(t, "foo")
			away := lab.TempDir(t)
			file, dir := filepath.Join(away, "file"), filepath.Join(away, "dir")
			if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Mkdir(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
			bind(t, h.path("foo"), file)
			bind(t, h.dir, dir)
			for _, path := range []string{h.path("foo"), file, filepath.Join(dir, "foo")} {
				umount(t, h.dir, flags)
				h.restore(t)
				write(t, path, "+192.0.2.1")
				for _, other := range []string{h.path("foo"), file, filepath.Join(dir, "foo")} {
					if got := content(t, other); got != "192.0.2.1" {
						t.Errorf("%s has %q", other, got)
					}
				}
				write(t, path, "/")
			}
			h.reg.Destroy(rule)
			h.rule(t, "foo")
			if err := unix.Stat(file, &unix.Stat_t{}); !errors.Is(err, unix.ESTALE) {
				t.Errorf("the bound file of a table that is gone: %v, want ESTALE", err)
			}
			write(t, h.path("foo"), "+192.0.2.1")
			if got := content(t, filepath.Join(dir, "foo")); got != "192.0.2.1" {
				t.Errorf("the bound directory has %q", got)
			}
			umount(t, file, 0)
			umount(t, dir, 0)
		})
	}
}

// TestRestoreModule restores the mount of the module.
func TestRestoreModule(t *testing.T) {
	lab.NeedRoot(t)
	dir := filepath.Join(lab.TempDir(t), "xt_recent.module")
	m, err := MountModule(dir, Module{Params: emptyModule(t).Params, Self: func(uint32) string { return "/" }})
	if err != nil {
		t.Fatal(err)
	}
	h := &shown{m: m, dir: dir}
	for _, flags := range []int{0, unix.MNT_DETACH} {
		umount(t, dir, flags)
		h.restore(t)
		if out, err := exec.Command("cat", dir+"/parameters/ip_list_tot").CombinedOutput(); err != nil || string(out) != "100\n" {
			t.Errorf("ip_list_tot: %q, %v", out, err)
		}
	}
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
}

// TestRestoreLeavesNothing counts what a hundred umounts leave behind.
func TestRestoreLeavesNothing(t *testing.T) {
	h := modern(t)
	h.rule(t, "foo")
	var before int
	for i := range 100 {
		f, err := os.Open(h.path("foo"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(make([]byte, 10)); err == nil {
			t.Error("an empty table has a line")
		}
		if i%2 == 0 {
			umount(t, h.dir, unix.MNT_DETACH)
		} else if err := unix.Unmount(h.dir, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
		h.restore(t)
		f.Close()
		if i == 10 {
			before = lab.Descriptors(t)
		}
	}
	lab.Eventually(t, "no descriptor is left", func() error {
		if now := lab.Descriptors(t); now > before {
			return errors.New("more are open")
		}
		return nil
	})
	h.m.fs.mu.Lock()
	defer h.m.fs.mu.Unlock()
	if n := len(h.m.fs.handles); n > 1 || len(h.m.fs.readers) > 1 {
		t.Errorf("%d open files are left, and the readers of %d", n, len(h.m.fs.readers))
	}
}
