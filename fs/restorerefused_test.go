package fs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/tests/lab"
)

// TestRestoreRefused restores where something is in the way, says so, and restores
// once it is not.
func TestRestoreRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		block func(t *testing.T, h *shown) (unblock func())
		want  string
	}{
		{"another recentfs", func(t *testing.T, h *shown) func() {
			cmd := mountElsewhere(t, h.dir)
			return func() { kill(cmd) }
		}, "another recentfs is mounted there: stop it"},
		{"a directory in it", func(t *testing.T, h *shown) func() {
			if err := os.Mkdir(h.path("x"), 0o755); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(h.path("x")) }
		}, `is not empty ("x" is in it)`},
		{"a link", func(t *testing.T, h *shown) func() {
			other := lab.TempDir(t)
			if err := errors.Join(os.Remove(h.dir), os.Symlink(other, h.dir)); err != nil {
				t.Fatal(err)
			}
			return func() { os.Remove(h.dir) }
		}, "the path leads to "},
	} {
		for _, open := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				h := modern(t)
				h.rule(t, "foo")
				if open {
					f, err := os.Open(h.path("foo"))
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
				}
				umount(t, h.dir, unix.MNT_DETACH)
				unblock := c.block(t, h)
				for range 2 {
					if restored, err := h.m.Restore(); restored || err == nil || !strings.Contains(err.Error(), h.dir) || !strings.Contains(err.Error(), c.want) {
						t.Errorf("restored: %v, %v, want %q", restored, err, c.want)
					}
				}
				unblock()
				h.restore(t)
				if got := content(t, h.path("foo")); got != "" {
					t.Errorf("the table has %q", got)
				}
			})
		}
	}
}

// TestNothingToRestore mounts something over the mount, and over a directory above.
func TestNothingToRestore(t *testing.T) {
	h := modern(t)
	for _, dir := range []string{h.dir, filepath.Dir(h.dir)} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if restored, err := h.m.Restore(); err != nil || restored {
			t.Errorf("with a mount on %s: %v, %v", dir, restored, err)
		}
		umount(t, dir, 0)
	}
}

// TestRestoreHides tells which files writers have made while nothing was mounted.
func TestRestoreHides(t *testing.T) {
	h := modern(t)
	umount(t, h.dir, 0)
	write(t, h.path("foo"), "+192.0.2.1\n")
	h.restore(t)
	if got := h.m.Hidden(); len(got) != 1 || got[0] != "foo" {
		t.Errorf("hidden: %q", got)
	}
	umount(t, h.dir, 0)
	if err := os.Remove(h.path("foo")); err != nil {
		t.Fatal(err)
	}
	h.restore(t)
	if got := h.m.Hidden(); len(got) != 0 {
		t.Errorf("hidden: %q", got)
	}
}

// oldSites are those of a kernel before Linux 5.15, which does not mount a connection
// again.
type oldSites struct{ OwnSites }

func (oldSites) Attach(s *Site, _ int) (int, error) {
	return -1, s.mountError(unix.EINVAL)
}

// TestRestoreOnOldKernel has a kernel that does not mount a connection again.
func TestRestoreOnOldKernel(t *testing.T) {
	lab.NeedRoot(t)
	fd, err := device.Open()
	if err != nil {
		t.Fatal(err)
	}
	conn := device.New(fd, nil)
	defer conn.Close()
	m := &Mountpoint{sites: oldSites{}, site: Site{Dir: lab.TempDir(t)}, conn: conn}
	again, err := m.mountAgain()
	if again || !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), m.site.Dir) || !strings.Contains(err.Error(), "it comes back when its open files are closed") {
		t.Errorf("mounted again: %v, %v", again, err)
	}
}
