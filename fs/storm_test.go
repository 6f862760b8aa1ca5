package fs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// storm opens a file and sends from it as many times as it is told, as a user
// who has no rights, while a signal comes every millisecond. sendfile makes the
// kernel read through its page cache.
const storm = `
import os, signal, sys
os.setgid(12345); os.setuid(12345)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, .001, .001)
null = os.open("/dev/null", os.O_WRONLY)
for i in range(int(sys.argv[2])):
    fd = os.open(sys.argv[1], os.O_RDONLY)
    try:
        os.sendfile(null, fd, 0, 8192)
    except OSError:
        pass
    os.close(fd)
signal.setitimer(signal.ITIMER_REAL, 0)
`

// TestSignalsStarveNobody lets users without rights send signals to themselves
// while they read. Before, their INTERRUPTs kept the loop from every READ, a
// notification waited for a page that such a READ held, every open hung, and the
// process that served the mount could not be killed any more.
func TestSignalsStarveNobody(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct{ name, dir, file string }{
		{"tables", "xt_recent", "foo"},
		{"module", "xt_recent.module", "parameters/ip_list_uid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(lab.TempDir(t), c.dir)
			server := mountElsewhere(t, dir)
			t.Cleanup(func() { abort(t, dir) }) // first, or kill would wait for ever
			var clients []*exec.Cmd
			for range 8 {
				client := exec.Command("python3", "-c", storm, filepath.Join(dir, c.file), "300")
				if err := client.Start(); err != nil {
					t.Fatal(err)
				}
				clients = append(clients, client)
			}
			ended := make(chan error, len(clients))
			for _, client := range clients {
				go func() { ended <- client.Wait() }()
			}
			late := time.After(30 * time.Second)
			for range clients {
				select {
				case err := <-ended:
					if err != nil {
						t.Errorf("client: %v", err)
					}
				case <-late:
					t.Fatal("the mount does not answer any more")
				}
			}
			died := make(chan error, 1)
			go func() {
				server.Process.Kill()
				died <- server.Wait()
			}()
			select {
			case <-died:
			case <-time.After(10 * time.Second):
				t.Fatal("the process that serves the mount survives SIGKILL")
			}
		})
	}
}

// abort ends the connection of a mount, whoever waits for what (fusectl). It asks
// nothing of the mount.
func abort(t *testing.T, dir string) {
	t.Helper()
	mounts, err := mountsOn(dir)
	if err != nil || len(mounts) == 0 {
		return
	}
	control := lab.TempDir(t)
	if err := unix.Mount("fusectl", control, "fusectl", 0, ""); err != nil {
		t.Error(err)
		return
	}
	defer unix.Unmount(control, unix.MNT_DETACH)
	device := fmt.Sprint(mounts[0].Minor)
	if err := os.WriteFile(filepath.Join(control, device, "abort"), []byte("1"), 0); err != nil && !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

// TestGoFuseLoop runs the other tests of this package once more, with go-fuse's
// own loop. There signals starve requests, no mount outlives its process, and nobody sees
// what is at work.
func TestGoFuseLoop(t *testing.T) {
	lab.NeedRoot(t)
	cmd := exec.Command(os.Args[0], "-test.skip", "TestGoFuseLoop|TestSignalsStarveNobody|TestKill|Leaving|Anew|UnmountedMeanwhile|Adopted|NewTables|Resend|Outlives|InDoubt|AtWork")
	cmd.Env = append(os.Environ(), goFuseLoopEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
