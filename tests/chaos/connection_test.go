package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// noMount are the errors of a mount that has ended, or has not come again yet: a write
// makes a plain file then.
func noMount(err error) bool {
	for _, e := range []error{unix.ENOTCONN, unix.ECONNABORTED, unix.ENOENT, unix.EIO, errNoTable} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// TestMountsEnd ends the connection of the tables' mount again and again, with clients
// under way.
func TestMountsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world, control string) error
	}{
		{"abort", func(w *world, control string) error {
			var stat unix.Stat_t
			if err := unix.Lstat(w.d.Mount, &stat); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(control, fmt.Sprint(unix.Minor(stat.Dev)), "abort"), []byte("1"), 0)
		}},
		{"umount -f", func(w *world, _ string) error {
			if err := unix.Unmount(w.d.Mount, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) { // which ends it too
				return err
			}
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			control := lab.TempDir(t)
			if err := unix.Mount("none", control, "fusectl", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(control, unix.MNT_DETACH) })
			w := startWorld(t)
			w.load.expect(noMount)
			for range lab.Soak(20, 500) {
				clients := []*process{w.start("sh", "-c", "cat w; :"), w.start("sh", "-c", "echo +192.0.2.1 > w; :")}
				lab.Eventually(t, "the connection ends", func() error { return c.end(w, control) })
				lab.Eventually(t, "the tables are back", func() error { return readTable(w.file("w")) })
				w.killsAll(clients, syscall.SIGKILL)
			}
			if n := len(w.d.Mounts()); n != 2 {
				t.Errorf("there are %d mounts: %q", n, w.d.Mounts())
			}
			w.end()
		})
	}
}

// TestKilledReaders kills who reads a large table, in the middle of it.
func TestKilledReaders(t *testing.T) {
	w := newWorld(t)
	w.begin("-o", "ip_list_tot=50000")
	var list strings.Builder
	for n := range 50000 {
		fmt.Fprintf(&list, "10.1.%d.%d\n", n>>8, n&255)
	}
	file := filepath.Join(w.d.Dir, "list")
	if err := os.WriteFile(file, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	w.d.Must("import", "--table", "open", file)
	w.before = w.measure() // the table is in memory now
	for range lab.Soak(10, 500) {
		var all []*process
		for range 4 {
			all = append(all, w.start("sh", "-c", "exec cat open > /dev/null"), w.start("dd", "if=open", "of=/dev/null", "bs=1M", "status=none"),
				w.start("sh", "-c", "exec cat open | sleep 100"))
		}
		time.Sleep(time.Duration(rand.IntN(int(40 * time.Millisecond)))) // somewhere in the middle
		w.killsAll(all, syscall.SIGKILL)
	}
	w.end()
}

// TestWatches watches everything by thousands of inotify instances.
func TestWatches(t *testing.T) {
	w := startWorld(t)
	const instances = 100 // of 128 that a user may have
	var all []*process
	for n := range lab.Soak(5, 50) {
		all = append(all, w.startClient(nobody-1-uint32(n), "watches", fmt.Sprint(instances)))
	}
	for _, p := range all {
		w.begun(p)
	}
	w.goesOn()
	w.d.Must("reload")
	w.killsAll(all, syscall.SIGTERM)
	w.end()
}
