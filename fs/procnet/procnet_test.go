package procnet

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// entries are the names in a directory.
func entries(t *testing.T, dir string) map[string]bool {
	t.Helper()
	set, err := names(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestCover covers /proc/net twice, and uncovers it.
func TestCover(t *testing.T) {
	lab.NeedRoot(t)
	before := entries(t, procNet)
	link, err := os.Readlink(procNet)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tables := filepath.Join(dir, "tables")
	if err := os.Mkdir(tables, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tables, "ssh"), []byte("src=192.0.2.1"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{filepath.Join(dir, "old"), tables} { // the second replaces the first
		c, err := Mount(old, []string{filepath.Join(dir, "ip_list_tot")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := Unmount(); err != nil {
				t.Error(err)
			}
		})
		if err := c.Refresh(); err != nil {
			t.Errorf("Refresh: %v", err)
		}
	}
	for _, name := range []string{"xt_recent", "ipt_recent"} {
		if text, err := os.ReadFile(filepath.Join(procNet, name, "ssh")); err != nil || string(text) != "src=192.0.2.1" {
			t.Errorf("%s/ssh has %q, %v", name, text, err)
		}
	}
	covered := entries(t, procNet)
	for name := range before {
		if !covered[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if text, err := os.ReadFile(procNet + "/dev"); err != nil || len(text) == 0 {
		t.Errorf("dev has %q, %v", text, err)
	}
	if got := Module(); got != dir {
		t.Errorf("the cover leads to the module %q, want %q", got, dir)
	}
	if err := Unmount(); err != nil {
		t.Fatal(err)
	}
	if got := Module(); got != "" {
		t.Errorf("without a cover the module is %q", got)
	}
	if _, err := os.Readlink(filepath.Join(netDir, "xt_recent")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the links are still there: %v", err)
	}
	if now, err := os.Readlink(procNet); err != nil || now != link {
		t.Errorf("%s leads to %q, %v; want %q", procNet, now, err, link)
	}
}

// TestCoverFails covers, restores and uncovers /proc/net with too few descriptors, and
// covers it with what cannot be. An error changes nothing.
func TestCoverFails(t *testing.T) {
	lab.NeedRoot(t)
	t.Cleanup(func() { Unmount() })
	covers := func(n int) func(error) {
		return func(err error) {
			t.Helper()
			mounts, listErr := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return !isOurs(m), false })
			if listErr != nil || (len(mounts) > 0) != (n > 0) {
				t.Errorf("error %v; the covers are %v, %v", err, mounts, listErr)
			}
		}
	}
	var c *Cover
	lab.FewDescriptors(t, func() (err error) {
		c, err = Mount("/nowhere", nil)
		return err
	}, covers(0))
	lab.FewDescriptors(t, c.Refresh, covers(1))
	lab.FewDescriptors(t, func() error {
		_, err := c.Restore()
		return err
	}, covers(1))
	lab.FewDescriptors(t, Unmount, covers(1))
	covers(0)(nil)

	_, err := Mount("/nowhere", []string{"/a/ip_list_tot", "/b/ip_list_tot"})
	if !errors.Is(err, unix.EEXIST) {
		t.Errorf("two parameters of one name: %v, want EEXIST", err)
	}
	covers(0)(err)
}

// TestMountLink mounts a link over another, and over what is not there.
func TestMountLink(t *testing.T) {
	lab.NeedRoot(t)
	dir := t.TempDir()
	link, over := filepath.Join(dir, "link"), filepath.Join(dir, "over")
	if err := errors.Join(os.Symlink("new", link), os.Symlink("old", over)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, link, over string
		want             error
	}{
		{"no link", link + "x", over, unix.ENOENT},
		{"over nothing", link, over + "x", unix.ENOENT},
		{"over a link", link, over, nil},
	} {
		if err := mountLink(c.link, c.over); !errors.Is(err, c.want) || err != nil && !strings.HasPrefix(err.Error(), "mount over "+c.over+": ") {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if leads, err := os.Readlink(over); err != nil || leads != "new" {
		t.Errorf("the link leads to %q, %v", leads, err)
	}
	if err := unix.Unmount(over, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		t.Error(err)
	}
}

// TestWithoutModule covers /proc/net where the kernel does not have the module.
func TestWithoutModule(t *testing.T) {
	lab.NeedRoot(t)
	if err := unix.Mount("none", "/sys/module", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount("/sys/module", unix.MNT_DETACH)
	dir := t.TempDir()
	c, err := Mount(dir, []string{filepath.Join(dir, "ip_list_tot")})
	if err != nil {
		t.Fatal(err)
	}
	defer Unmount()
	if want := []string{tmpfsDir, procNet}; !slices.Equal(c.mounted, want) {
		t.Errorf("it covers %q, want %q", c.mounted, want)
	}
	if got := Module(); got != filepath.Dir(dir) {
		t.Errorf("the cover leads to the module %q, want %q", got, filepath.Dir(dir))
	}
}

// TestForeignMount leaves what others have mounted in the places of a cover.
func TestForeignMount(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct{ name, source, kind string }{
		{"another tmpfs", "none", "tmpfs"},
		{"another kind of our name", source, "ramfs"},
	} {
		if err := unix.Mount(c.source, tmpfsDir, c.kind, 0, ""); err != nil {
			t.Fatal(err)
		}
		if err := Unmount(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if top, err := topMount(tmpfsDir); err != nil || top == nil || top.FSType != c.kind {
			t.Errorf("%s: %v is left, %v", c.name, top, err)
		}
		if err := unix.Unmount(tmpfsDir, 0); err != nil {
			t.Error(err)
		}
	}
}

// TestRefresh has an entry that /proc/net does not have, and misses one.
func TestRefresh(t *testing.T) {
	lab.NeedRoot(t)
	c, err := Mount("/nowhere", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer Unmount()
	if err := os.Remove(netDir + "/dev"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", netDir+"/gone"); err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(); err != nil {
		t.Fatal(err)
	}
	if now := entries(t, procNet); !now["dev"] || now["gone"] || !now["xt_recent"] {
		t.Errorf("after Refresh: dev %v, gone %v, xt_recent %v", now["dev"], now["gone"], now["xt_recent"])
	}
}

// TestRestore unmounts the parts of a cover, and mounts something over one.
func TestRestore(t *testing.T) {
	lab.NeedRoot(t)
	dir := t.TempDir()
	c, err := Mount(dir, []string{filepath.Join(dir, "ip_list_tot")})
	if err != nil {
		t.Fatal(err)
	}
	defer Unmount()
	restore := func(name string, want bool) {
		t.Helper()
		if restored, err := c.Restore(); err != nil || restored != want {
			t.Errorf("%s: restored: %v, %v, want %v", name, restored, err, want)
		}
		if link, err := os.Readlink(procNet + "/xt_recent"); err != nil || link != dir {
			t.Errorf("%s: xt_recent leads to %q, %v", name, link, err)
		}
		if text, err := os.ReadFile(procNet + "/dev"); err != nil || len(text) == 0 {
			t.Errorf("%s: dev has %q, %v", name, text, err)
		}
	}
	restore("at once", false)
	parts := c.mounted
	for _, part := range parts {
		if err := unix.Unmount(part, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			t.Fatal(err)
		}
		restore(part, true)
		restore(part+", once more", false)
	}
	if err := unix.Mount("tmpfs", "/proc/tty", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	restored, err := c.Restore()
	if unmount := unix.Unmount("/proc/tty", 0); err != nil || restored || unmount != nil {
		t.Errorf("with a mount above: restored: %v, %v, %v", restored, err, unmount)
	}
	restore("uncovered", false)
	if err := Unmount(); err != nil {
		t.Fatal(err)
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return !isOurs(m), false })
	if err != nil || len(mounts) > 0 {
		t.Errorf("left: %v, %v", mounts, err)
	}
}
