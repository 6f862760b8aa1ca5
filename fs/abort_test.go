package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestAbort ends the mount of a process that is stopped. Who waits for it gets an error,
// and the mount stays.
func TestAbort(t *testing.T) {
	lab.NeedRoot(t)
	dir := filepath.Join(lab.TempDir(t), "xt_recent")
	cmd := mountElsewhere(t, dir)
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "each of its threads is stopped", func() error { return stopped(cmd.Process.Pid) })
	var out lab.Output
	waits := exec.Command("stat", "-f", dir)
	waits.Stderr = &out
	if err := waits.Start(); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "stat waits", func() error {
		where, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", waits.Process.Pid))
		if err == nil && string(where) != "request_wait_answer" {
			state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", waits.Process.Pid))
			err = fmt.Errorf("it is in %s: %s; it says %q", where, state, &out)
		}
		return err
	})
	// Another file system over it hides it. What is no mount stays as it is.
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{dir, filepath.Dir(dir)} {
		if err := Abort(other); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
	umount(t, dir, 0)
	if mounts, err := mountsOn(dir); err != nil || len(mounts) != 1 {
		t.Errorf("mounts %v, %v", mounts, err)
	}

	if err := Abort(dir); err != nil {
		t.Error(err)
	}
	if waits.Wait() == nil || !strings.Contains(out.String(), "connection abort") {
		t.Errorf("stat says %q", &out)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("a dead mount: %v", err)
	}
	if err := Abort(filepath.Join(dir, "nowhere")); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("a path in it: %v", err)
	}
}

// stopped is an error as long as a thread of a process runs.
func stopped(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		text, _ := os.ReadFile(thread)
		if _, state, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("%s: %s", thread, text)
		}
	}
	return err
}
