package chaos

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestMountPoint takes the mount point away while it is in use, from another mount
// namespace, where nothing is mounted on it.
func TestMountPoint(t *testing.T) {
	for _, c := range []struct {
		name, script string // $m is the mount point, in $a, and $d another directory
		said         string // what the daemon says of it; empty: it mounts again by itself
		undo         string
	}{
		{"removed", "umount $m; rmdir $m", "", ""},
		{"removed with what is above", "umount $m $m.module; mv $a $d/old; rm -r $d/old", "", ""},
		{"what is above is renamed", "mv $a $a.old", "", ""},
		{"a file in its place", "umount $m; mv $m $m.old; echo a file > $m; rmdir $m.old", "is not a directory", "rm $m"},
		{"a link in its place", "umount $m; mv $m $m.old; ln -s $d $m; rmdir $m.old", "remove that link", "rm $m"},
		{"what is above is a link", "umount $m $m.module; mv $a $d/old; ln -s $d $a; rm -r $d/old", "remove that link", "rm $a"},
		{"files under it", "umount $m; mkdir $m/dir; rmdir $m/dir; echo +192.0.2.1 > $m/w", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.d.Mount = w.d.Dir + "/above/xt_recent"
			w.tables = w.d.Mount
			if err := os.Mkdir(w.d.Dir+"/above", 0o755); err != nil {
				t.Fatal(err)
			}
			w.begin()
			w.load.expect(func(err error) bool {
				for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ENOTCONN, errNoTable} {
					if errors.Is(err, e) {
						return true
					}
				}
				return false
			})
			other := lab.TempDir(t)
			elsewhere := func(script string) {
				t.Helper()
				got := w.d.NS.Run(t, "unshare", "--mount", "--propagation", "private", "sh", "-euc", "m="+w.d.Mount+"; a=${m%/*}; d="+other+"; "+script)
				if got.Code != 0 {
					t.Fatalf("%s: %+v", script, got)
				}
			}
			elsewhere(c.script)
			if c.said != "" {
				w.said(c.said)
				elsewhere(c.undo)
			}
			lab.Eventually(t, "the tables are back", func() error {
				var at unix.Statfs_t
				if err := unix.Statfs(w.file("w"), &at); err != nil || at.Type != unix.FUSE_SUPER_MAGIC {
					return fmt.Errorf("%v; %v", err, &w.d.Output)
				}
				return nil
			})
			// A directory that was renamed keeps its mount.
			for _, dir := range w.d.Mounts() {
				if strings.Contains(dir, ".old") {
					if err := unix.Unmount(dir, 0); err != nil {
						t.Error(err)
					}
				}
			}
			w.end()
		})
	}
}
