package helper

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

const strangerEnv = "RECENTFS_HELPER_STRANGER"

// askAsStranger asks as a user who may not.
func askAsStranger(path string) {
	_, err := (&Client{path: path}).NetnsOf(os.Getpid())
	fmt.Print(err)
}

// TestStranger asks as another user, and as root of a user namespace.
func TestStranger(t *testing.T) {
	a := allowed(t)
	path := serve(t, a)
	program := filepath.Join(lab.TempDir(t), "program") // where others may run it
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	for _, c := range []struct {
		name  string
		mode  os.FileMode // of the socket
		owner int
		attr  syscall.SysProcAttr
		want  string
	}{
		{"root", 0o600, 0, syscall.SysProcAttr{}, "<nil>"},
		{"another user", 0o600, 0, syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody}}, "permission denied"},
		{"another user, though the file lets him", 0o666, 0, syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody}}, "user 65534 may not ask"},
		{"root of a namespace", 0o666, 0, syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, Credential: &syscall.Credential{},
			UidMappings: []syscall.SysProcIDMap{{HostID: nobody, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: nobody, Size: 1}},
		}, "user 65534 may not ask"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := errors.Join(os.Chmod(path, c.mode), os.Chown(path, c.owner, 0)); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program)
			cmd.Env = append(os.Environ(), strangerEnv+"="+path)
			cmd.SysProcAttr = &c.attr
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%s, %v, want %q", out, err, c.want)
			}
		})
	}
}

// TestWatch has the helper tell of mounts, and the next one when it ends.
func TestWatch(t *testing.T) {
	lab.NeedRoot(t)
	path := filepath.Join(lab.TempDir(t), "socket")
	first := start(t, path)
	c := &Client{path: path}
	lab.Eventually(t, "the helper starts", func() error { return c.CheckProcesses() })
	changed := make(chan struct{}, 1000)
	unwatch, err := c.Watch(func() { changed <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	await := func(what string) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(lab.Patience):
			t.Fatal("nobody tells of " + what)
		}
	}
	await("the begin")
	mount := func() {
		t.Helper()
		dir := lab.TempDir(t)
		for len(changed) > 0 {
			<-changed
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	}
	mount()
	await("a mount")
	first.Process.Kill()
	first.Wait()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	start(t, path)
	await("the next helper")
	mount()
	await("a mount")
	unwatch()
}

// TestSilent has a helper that does not answer. Nobody waits for long.
func TestSilent(t *testing.T) {
	path := filepath.Join(lab.TempDir(t), "socket")
	listen(t, path)
	c := &Client{path: path}
	_, err := c.NetnsOf(1)
	_, watching := c.Watch(func() {})
	for _, err := range []error{err, watching} {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v, want that the time is over", err)
		}
	}
}

// TestHalfRequest sends half a request and waits. The helper goes on with others.
func TestHalfRequest(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := unixConn(t, fds[0]), unixConn(t, fds[1])
	defer ours.Close()
	defer theirs.Close()
	if _, err := ours.Write([]byte(`{"do":`)); err != nil {
		t.Fatal(err)
	}
	if err := theirs.SetDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var r request
	if _, err := receive(theirs, &r, maxRequest); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want that the time is over", err)
	}
}

// TestNamespaceMissing starts a helper for a namespace that is not there. Who asks
// learns of it, and the helper ends.
func TestNamespaceMissing(t *testing.T) {
	a := allowed(t)
	a.Netns = []string{"missing"}
	path := filepath.Join(lab.TempDir(t), "socket")
	l := listen(t, path)
	done := make(chan error, 1)
	go func() { done <- Serve(l, a) }()
	const want = "network namespace missing: /run/netns/missing is not there"
	if _, err := Connect(path, a); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the helper: %v, want %q", err, want)
	}
}

// TestIdle ends a helper that nobody needs, and not one that somebody watches.
func TestIdle(t *testing.T) {
	a := allowed(t)
	own, err := NewOwn(a)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	path := filepath.Join(lab.TempDir(t), "socket")
	l := listen(t, path)
	done := make(chan error, 1)
	go func() {
		done <- newServer(own, a).serve(l, 20*time.Millisecond)
	}()
	c := &Client{path: path}
	unwatch, err := c.Watch(func() {})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // it takes longer than it would to be idle
		if _, err := c.NetnsOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			t.Fatalf("it has ended though somebody watches: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	unwatch()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(lab.Patience):
		t.Error("it does not end")
	}
}
