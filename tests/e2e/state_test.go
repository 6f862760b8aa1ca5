package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// keeper is a daemon with --state, whose directory in memory goes with the test.
func keeper(t *testing.T, rules string) (d *lab.Daemon, start func(args ...string)) {
	t.Helper()
	d = lab.NewDaemon(t, lab.NewNetns(t), rules)
	memory, err := os.MkdirTemp("/dev/shm", "recentfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	d.Control = filepath.Join(memory, "control.sock")
	return d, func(args ...string) { d.Start(append([]string{"--state", filepath.Join(d.Dir, "state")}, args...)...) }
}

// TestKilledUnderWrites kills a daemon at random moments while a program writes.
// Whatever a write returned for is there, once, when the next daemon is ready.
func TestKilledUnderWrites(t *testing.T) {
	d, start := keeper(t, sshSeen)
	more := []string{"-o", "ip_list_tot=100000"}
	start(more...)
	written := 0 // addresses
	for range 20 {
		var done atomic.Int64
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for n := written; ; n++ {
				if os.WriteFile(d.File("ssh"), fmt.Appendf(nil, "+10.%d.%d.%d", n>>16, n>>8&255, n&255), 0) != nil {
					return
				}
				done.Store(int64(n + 1))
			}
		}()
		lab.Eventually(t, "some addresses are written", func() error {
			if n := done.Load(); n < int64(written)+10 {
				return fmt.Errorf("%d of %d", n, written+10)
			}
			return nil
		})
		time.Sleep(time.Duration(rand.IntN(int(3 * time.Millisecond)))) // the moment is random, and nothing waits for it
		d.Kill()
		<-ended
		start(more...)
		lines := strings.Split(strings.TrimSpace(d.Sh("cat ssh")), "\n")
		acknowledged := int(done.Load())
		// One write may have been done and not acknowledged.
		if len(lines) != acknowledged && len(lines) != acknowledged+1 {
			t.Fatalf("%d addresses were written, the table has %d", acknowledged, len(lines))
		}
		for n, line := range lines {
			want := fmt.Sprintf("src=10.%d.%d.%d ttl: 0 last_seen: ", n>>16, n>>8&255, n&255)
			if !strings.HasPrefix(line, want) || strings.Contains(line, ",") {
				t.Fatalf("line %d is %q", n, line)
			}
		}
		written = len(lines)
	}
	t.Logf("%d addresses", written)
	d.Stop()
}

// TestState starts daemons one after the other on the same directory.
func TestState(t *testing.T) {
	d, start := keeper(t, sshSeen)
	show := func(want ...string) {
		t.Helper()
		if got := strings.Fields(d.Sh("cut -d' ' -f1 ssh")); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("the table has %q, want %q; the daemon said\n%s", got, want, &d.Output)
		}
	}
	live := filepath.Join(filepath.Dir(d.Control), "live")
	saved := filepath.Join(d.Dir, "state/host/ssh.snapshot")

	start()
	d.Sh("echo +192.0.2.1 > ssh; chmod 600 ssh")
	d.Stop()
	start()
	show("src=192.0.2.1")
	if mode := d.Sh("stat -c %a ssh"); mode != "600\n" {
		t.Errorf("the file's mode is %s", mode)
	}
	if got := d.NS.Finish(t, lab.NewDaemon(t, d.NS, sshSeen).Command("--state", filepath.Join(d.Dir, "state"))); got.Code != 1 ||
		!strings.Contains(got.Stderr, "another recentfs uses "+filepath.Join(d.Dir, "state")) {
		t.Errorf("another on the same directory: %+v", got)
	}
	d.Sh("echo +192.0.2.2 > ssh")
	d.Must("save", "--control", d.Control)
	d.Sh("echo +192.0.2.3 > ssh")

	t.Log("the memory is lost: the snapshot is used")
	d.Kill()
	if err := os.RemoveAll(live); err != nil {
		t.Fatal(err)
	}
	start()
	show("src=192.0.2.1", "src=192.0.2.2")

	t.Log("the last snapshot is damaged: the one before is used")
	d.Kill()
	if err := os.RemoveAll(live); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(saved, 100); err != nil {
		t.Fatal(err)
	}
	start()
	show("src=192.0.2.1")
	if said := d.Output.String(); !strings.Contains(said, saved+" cannot be used: ") {
		t.Errorf("it said\n%s", said)
	}

	t.Log("the region is damaged too")
	d.Kill()
	if err := os.WriteFile(filepath.Join(live, "host/ssh.table"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	start()
	show("src=192.0.2.1")

	t.Log("a rule goes, and comes back")
	d.Sh("echo +192.0.2.4 > ssh")
	d.SetRules(strings.ReplaceAll(sshSeen, "ssh", "other"))
	d.Must("reload", "--control", d.Control)
	d.SetRules(sshSeen)
	d.Must("reload", "--control", d.Control)
	show("src=192.0.2.1", "src=192.0.2.4")

	t.Log("without --state")
	d.Stop()
	d.Start()
	show()
	if got := d.Recentfs("save", "--control", d.Control); got.Code != 1 || !strings.Contains(got.Stderr, "start it with 'recentfs run --state DIR'") {
		t.Errorf("save: %+v", got)
	}
	d.Stop()
}

// TestReadOnlyState has the snapshots on a file system that is read-only at the
// start, and not later.
func TestReadOnlyState(t *testing.T) {
	d, start := keeper(t, sshSeen)
	disk := t.TempDir()
	mount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("tmpfs", disk, "tmpfs", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	mount(0)
	defer unix.Unmount(disk, unix.MNT_DETACH)
	start("--state", disk)
	d.Sh("echo +192.0.2.1 > ssh")
	d.Stop()
	mount(unix.MS_REMOUNT | unix.MS_RDONLY)
	if err := os.RemoveAll(filepath.Join(filepath.Dir(d.Control), "live")); err != nil {
		t.Fatal(err)
	}
	before := d.Output.String()
	start("--state", disk, "--sync", "1s")
	if got := d.Sh("cut -d' ' -f1 ssh"); got != "src=192.0.2.1\n" {
		t.Errorf("the table has %q", got)
	}
	mount(unix.MS_REMOUNT)
	lab.Eventually(t, "the table is saved again", func() error {
		said := strings.TrimPrefix(d.Output.String(), before)
		if n := strings.Count(said, "tables are not saved"); n != 1 || !strings.Contains(said, "the tables are saved again") {
			return fmt.Errorf("%d times in\n%s", n, said)
		}
		return nil
	})

	t.Log("the last save fails")
	d.Sh("echo +192.0.2.2 > ssh")
	mount(unix.MS_REMOUNT | unix.MS_RDONLY)
	before = d.Output.String()
	d.Stop()
	if said := strings.TrimPrefix(d.Output.String(), before); !strings.Contains(said, "at the end tables are not saved, and stay in memory until a boot: snapshot of table ssh: ") {
		t.Errorf("it said\n%s", said)
	}
	start("--state", disk)
	if got := d.Sh("cut -d' ' -f1 ssh"); got != "src=192.0.2.1\nsrc=192.0.2.2\n" {
		t.Errorf("the table has %q", got)
	}
	d.Stop()
}

// TestRemovedState removes the directory in memory while a daemon uses it.
func TestRemovedState(t *testing.T) {
	d, start := keeper(t, sshSeen)
	start("--sync", "1s")
	d.Sh("echo +192.0.2.1 > ssh")
	if err := os.RemoveAll(filepath.Join(filepath.Dir(d.Control), "live")); err != nil {
		t.Fatal(err)
	}
	said := func(what string) {
		t.Helper()
		lab.Eventually(t, what, func() error {
			if n := strings.Count(d.Output.String(), what); n != 1 {
				return fmt.Errorf("%d times in\n%s", n, &d.Output)
			}
			return nil
		})
	}
	said("table ssh has lost its file in memory")
	d.SetRules(sshSeen[:strings.Index(sshSeen, "COMMIT")] + "-A QUEUE0 -m recent --set --name new\nCOMMIT\n")
	d.Must("reload", "--control", d.Control)
	d.Sh("echo +192.0.2.2 > new")
	d.Stop()
	said("table ssh has lost its file in memory")
	start()
	if got := d.Sh("cut -d' ' -f1 ssh new"); got != "src=192.0.2.1\nsrc=192.0.2.2\n" {
		t.Errorf("the tables have %q", got)
	}
	d.Stop()
}
