package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLockIn locks directories where another user may have been before.
func TestLockIn(t *testing.T) {
	const other = 65534
	for _, c := range []struct {
		name  string
		fs    string
		taken func(path string) error
		want  string // warnings
	}{
		{"free", "tmpfs", func(string) error { return nil }, ""},
		{"a directory of another", "tmpfs", func(path string) error {
			if err := os.Mkdir(path, 0o755); err != nil {
				return err
			}
			return os.Chown(path, other, other)
		}, "is not a directory of this user"},
		{"a link", "tmpfs", func(path string) error { return os.Symlink("/etc", path) }, "is not a directory of this user"},
		{"no tmpfs", "ramfs", func(string) error { return nil }, "is not on a tmpfs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			memory, runtime := t.TempDir(), filepath.Join(t.TempDir(), "run")
			if err := unix.Mount(c.fs, memory, c.fs, 0, ""); err != nil {
				t.Fatal(err)
			}
			defer unix.Unmount(memory, unix.MNT_DETACH)
			if err := c.taken(filepath.Join(memory, "recentfs"+strings.ReplaceAll(runtime, "/", "-"))); err != nil {
				t.Fatal(err)
			}
			var warnings []string
			lock := func() string {
				t.Helper()
				dir, unlock, err := lockIn(memory, runtime, func(text string) { warnings = append(warnings, text) })
				if err != nil {
					t.Fatal(err)
				}
				unlock()
				return dir
			}
			first := lock()
			said := fmt.Sprint(warnings)
			if !strings.Contains(said, c.want) || (c.want == "") != (len(warnings) == 0) {
				t.Errorf("warnings %q, want %q", said, c.want)
			}
			if next := lock(); next != first {
				t.Errorf("the next process has %s, not %s", next, first)
			}
			if err := os.Remove(first); err != nil { // a boot, and the other was first again
				t.Fatal(err)
			}
			if err := os.Symlink("/etc", first); err != nil {
				t.Fatal(err)
			}
			if next := lock(); next == first || filepath.Dir(next) != memory {
				t.Errorf("after a boot it has %s", next)
			}
		})
	}
}
