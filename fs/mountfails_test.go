package fs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// kinds are the kinds of mounts.
var kinds = map[string]func(dir string) (*Mountpoint, error){
	"tables": func(dir string) (*Mountpoint, error) {
		m, _, err := Mount(dir)
		return m, err
	},
	"namespaces": func(dir string) (*Mountpoint, error) {
		m, _, err := MountNamespaces(dir, nowhere)
		return m, err
	},
	"module": func(dir string) (*Mountpoint, error) { return MountModule(dir, Module{}) },
}

// TestFewDescriptors mounts, restores and unmounts with too few descriptors. An error
// changes nothing.
func TestFewDescriptors(t *testing.T) {
	lab.NeedRoot(t)
	for kind, mount := range kinds {
		t.Run(kind, func(t *testing.T) {
			base := lab.TempDir(t)
			dir := filepath.Join(base, "x")
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
			var m *Mountpoint
			stays := func(n int) func(error) {
				return func(err error) {
					if now := mounts(t, dir); now != n || !strings.Contains(err.Error(), dir) {
						t.Errorf("error %v, and %d mounts, want %d", err, now, n)
					}
				}
			}
			lab.FewDescriptors(t, func() (err error) {
				m, err = mount(dir)
				return err
			}, func(err error) {
				stays(0)(err)
				if left, _ := os.ReadDir(base); len(left) > 0 {
					t.Errorf("error %v left %v", err, left)
				}
			})
			umount(t, dir, 0)
			<-m.Ended()
			lab.FewDescriptors(t, func() error {
				_, err := m.Restore()
				return err
			}, stays(0))
			if n := mounts(t, dir); n != 1 {
				t.Errorf("restored: %d mounts, want 1", n)
			}
			lab.FewDescriptors(t, m.Unmount, stays(1))
			if n := mounts(t, dir); n != 0 {
				t.Errorf("unmounted: %d mounts", n)
			}
		})
	}
}

func TestMountWithoutCapabilities(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct {
		name string
		dead int // mounts on the directory
		want string
	}{
		{"a directory to be made", 0, "mount: operation not permitted: run as root (CAP_SYS_ADMIN)"},
		{"over a dead mount", 1, "mount: operation not permitted: run as root (CAP_SYS_ADMIN)"},
		{"over two dead mounts", 2, "detaching the dead mount there: operation not permitted: run as root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := lab.TempDir(t)
			dir := filepath.Join(base, "x")
			if c.dead > 0 {
				kill(mountElsewhere(t, dir))
			}
			if c.dead > 1 {
				bind(t, dir, dir)
			}
			lab.WithCapabilities(t, 0, func() {
				m, _, err := Mount(dir)
				if want := "mount point " + dir + ": " + c.want; m != nil || err == nil || err.Error() != want {
					t.Errorf("%v, want %q", err, want)
				}
			})
			if n := mounts(t, dir); n != c.dead {
				t.Errorf("%d mounts, want %d", n, c.dead)
			}
			if left, _ := os.ReadDir(base); c.dead == 0 && len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
