package fs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// TestTimesStay looks at the times of a node before and after it is used. Programs
// that copy files take other times for a change.
func TestTimesStay(t *testing.T) {
	h := modern(t)
	h.rule(t, "foo")
	several := mountNamespaces(t, func(uint32) string { return "ns/one" })
	if _, err := several.Add("one"); err != nil {
		t.Fatal(err)
	}
	m := mountModule(t, recent.DefaultParams(recent.Modern))
	foo := h.path("foo")
	for _, c := range []struct {
		name, path string
		use        func() error
	}{
		{"read", foo, func() error { _, err := os.ReadFile(foo); return err }},
		{"write", foo, func() error { return os.WriteFile(foo, []byte("+10.0.0.1\n"), 0) }},
		{"flush", foo, func() error { return os.WriteFile(foo, []byte("/"), 0) }},
		{"another table", h.dir, func() error { h.rule(t, "bar"); _, err := os.ReadDir(h.dir); return err }},
		{"another namespace", several.Dir() + "/ns", func() error { _, err := several.Add("two"); return err }},
		{"link", several.Dir() + "/self", func() error { _, err := os.Readlink(several.Dir() + "/self"); return err }},
		{"parameter", m.dir + "/parameters/ip_list_uid", func() error {
			return os.WriteFile(m.dir+"/parameters/ip_list_uid", []byte("0"), 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := times(t, c.path)
			if err := c.use(); err != nil {
				t.Fatal(err)
			}
			if after := times(t, c.path); after != before {
				t.Errorf("the times were %v, and are %v after it", before, after)
			}
		})
	}
}

// times are what the file system says of a node's times, not what the kernel
// remembers of them.
func times(t *testing.T, path string) string {
	t.Helper()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(st.Atime, st.Mtime, st.Ctime)
}

// TestTar packs the mount. tar compares the times before and after it reads a file.
func TestTar(t *testing.T) {
	h := modern(t)
	for _, name := range []string{"foo", "bar"} {
		h.rule(t, name)
		if err := os.WriteFile(h.path(name), []byte("+10.0.0.1\n"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("tar", "-c", "-f", filepath.Join(lab.TempDir(t), "tar"), "-C", h.dir, ".").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("tar: %v: %s", err, out)
	}
}
