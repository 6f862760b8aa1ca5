package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/cmd/recentfs/internal/handover"
	"recentfs/cmd/recentfs/internal/service"
	"recentfs/fs"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// stuckEnv makes the test binary mount a table on the directory that it names, store the
// mount, and then, if it is the first one, wait for an answer of its own.
const stuckEnv = "RECENTFS_TEST_STUCK"

// hungClock is a clock that never tells the time.
type hungClock struct{ jiffies.Clock }

func (hungClock) Now() jiffies.Jiffies { select {} }

// runStuck is a worker of handover.Keep.
func runStuck(dir string) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	left := handover.Received()
	holder, err := handover.NewHolder()
	if err != nil {
		return err
	}
	first := len(left) == 0
	mounter := fs.Mounter{Keep: true, Left: asFiles(tablesMount, left.Take(tablesMount)), Sites: fs.OwnSites{}}
	m, folder, err := mounter.Mount(dir)
	if err != nil {
		return err
	}
	if !first && m.Anew() == nil {
		return errors.New("it goes on with a mount that has ended")
	}
	module, err := recent.NewModule(recent.DefaultParams(recent.Classic), hungClock{jiffies.NewManual(1000, 100)})
	if err != nil {
		return err
	}
	if _, err := module.NewRegistry(folder.Update).CheckAll([]recent.Info{{CheckSet: recent.Set, Name: "T", Mask: recent.AllOnes}}); err != nil {
		return err
	}
	if err := holder.Remove(tablesMount); err != nil {
		return err
	}
	if err := withFiles(m, func(fds []int) error { return holder.Store(tablesMount, fds...) }); err != nil {
		return err
	}
	service.Notify(service.Ready)
	if !first {
		defer service.Watch(func(func(string, uint64) bool) {})()
		if err := os.WriteFile(dir+".second", nil, 0o600); err != nil {
			return err
		}
		<-end
		return m.Unmount()
	}
	fd, err := unix.Open(filepath.Join(dir, "T"), unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := os.WriteFile(dir+".first", fmt.Append(nil, os.Getpid()), 0o600); err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("+192.0.2.1"))
	return fmt.Errorf("it has its answer: %w", err)
}

// TestAbort has a process that waits for an answer of its own, so that nobody can kill
// it. Its mount is ended, and the next one begins.
func TestAbort(t *testing.T) {
	dir := filepath.Join(lab.TempDir(t), "xt_recent")
	t.Setenv(stuckEnv, dir)
	t.Setenv("WATCHDOG_USEC", "1000000")
	aborted := make(chan string, 1) // how the process was then
	ended := make(chan string, 1)
	go func() {
		code, err := handover.Keep("/proc/self/exe", []string{"worker"}, []string{"worker"}, Abandon, func(held handover.Held) {
			pid, _ := os.ReadFile(dir + ".first")
			status, _ := os.ReadFile("/proc/" + string(pid) + "/status")
			for line := range strings.Lines(string(status)) {
				if strings.HasPrefix(line, "State:") {
					aborted <- line
				}
			}
			Abort(held)
			if n := len(held[tablesMount]); n != 2 {
				t.Errorf("it has %d descriptors left", n)
			}
		})
		ended <- fmt.Sprint(code, " ", err)
	}()
	lab.Eventually(t, "the next one goes on", func() error { _, err := os.Stat(dir + ".second"); return err })
	select {
	case state := <-aborted:
		t.Logf("the process that could not be killed had %s", state)
	default:
		t.Error("it was aborted without need")
	}
	if out, err := exec.Command("ls", dir).CombinedOutput(); err != nil || string(out) != "T\n" {
		t.Errorf("ls: %q, %v", out, err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-ended:
		if got != "0 <nil>" {
			t.Errorf("it ended with %s", got)
		}
	case <-time.After(lab.Patience):
		t.Fatal("it goes on")
	}
}
