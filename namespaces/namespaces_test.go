package namespaces

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestID opens one namespace by several paths.
func TestID(t *testing.T) {
	ns, other := newNamespace(t), newNamespace(t)
	if ns.id == other.id {
		t.Fatalf("two namespaces are both %v", ns.id)
	}
	first, second := named("red"), filepath.Join(t.TempDir(), "crimson")
	bind(t, ns, first)
	bind(t, ns, second)
	p := startProcess(t, ns)
	for _, c := range []struct{ name, path string }{
		{"a name", first},
		{"another path", second},
		{"a process", processPath(p.pid())},
		{"through a root directory", "/proc/self/root" + first},
	} {
		t.Run(c.name, func(t *testing.T) {
			if id := open(t, c.path).id; id != ns.id {
				t.Errorf("%s is %v, want %v", c.path, id, ns.id)
			}
		})
	}
	if id, err := Of(p.cmd.Process.Pid); err != nil || id != ns.id {
		t.Errorf("Of a process inside: %v, %v; want %v", id, err, ns.id)
	}
	text, err := os.Readlink(processPath(p.pid()))
	if err != nil || text != ns.id.String() {
		t.Errorf("readlink: %q, %v; String: %q", text, err, ns.id)
	}
	own, err := own()
	if err != nil || own == ns.id || own != open(t, ownPath).id {
		t.Errorf("Own: %v, %v", own, err)
	}
	if id, err := Of(os.Getpid()); err != nil || id != own {
		t.Errorf("Of this process: %v, %v; want %v", id, err, own)
	}
	p.end()
	if id, err := Of(p.cmd.Process.Pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Of a process that has ended: %v, %v", id, err)
	}
}

// TestOpenOthers opens files that are not network namespaces.
func TestOpenOthers(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	before := lab.Descriptors(t)
	for _, c := range []struct{ name, path, want string }{
		{"no file", dir + "/nosuch", "no such file or directory"},
		{"a file", file, "is no network namespace"},
		{"a directory", dir, "is no network namespace"},
		{"a FIFO without a writer", pipe, "is no network namespace"},
		{"a device", "/dev/null", "is no network namespace"},
		{"a mount namespace", "/proc/self/ns/mnt", "is no network namespace"},
		{"a user namespace", "/proc/self/ns/user", "is no network namespace"},
		{"no path", "", "no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns, err := Open(c.path)
			if err == nil {
				ns.Close()
				t.Fatalf("opened as %v", ns.id)
			}
			if !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if now := lab.Descriptors(t); now != before {
		t.Errorf("%d descriptors are open, before it was %d", now, before)
	}
}

func TestDo(t *testing.T) {
	ns := newNamespace(t)
	inside := func() error {
		if id, err := identify(threadPath); err != nil || id != ns.id {
			t.Errorf("inside, the namespace is %v, %v; want %v", id, err, ns.id)
		}
		return nil
	}
	failure := errors.New("a failure")
	for _, c := range []struct {
		name string
		f    func() error
		want string // empty for no error
	}{
		{"inside", inside, ""},
		{"an error", func() error { return failure }, failure.Error()},
		{"no return", func() error { runtime.Goexit(); return nil }, "the function did not return"},
		{"Do within Do", func() error { return ns.Do(inside) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			switch err := ns.Do(c.f); {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || err.Error() != c.want):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	t.Run("a closed namespace", func(t *testing.T) {
		closed := newNamespace(t)
		closed.Close()
		if err := closed.Do(func() error { t.Error("called"); return nil }); !errors.Is(err, unix.EBADF) {
			t.Errorf("%v, want EBADF", err)
		}
	})
}

// TestDoLeavesNoTrace checks that Do leaves no thread inside the namespace: not the
// calling thread, no thread that runs a later goroutine, and not the main thread,
// whose namespace others see as the process's.
func TestDoLeavesNoTrace(t *testing.T) {
	ns := newNamespace(t)
	own, err := own()
	if err != nil {
		t.Fatal(err)
	}
	home := func(what, path string) {
		if id, err := identify(path); err != nil || id != own {
			t.Errorf("%s is in %v, %v; want %v", what, id, err, own)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// In turn from this thread and from others, one of which is the main thread.
	for i := range 200 {
		call := func() {
			if err := ns.Do(func() error { return nil }); err != nil {
				t.Error(err)
			}
		}
		if i%2 == 0 {
			call()
		} else {
			var wg sync.WaitGroup
			wg.Go(call)
			wg.Wait()
		}
		home("the process", ownPath)
		home("the calling thread", threadPath)
	}
	var wg sync.WaitGroup
	all := make(chan struct{})
	for range 100 {
		wg.Go(func() {
			runtime.LockOSThread() // 100 threads at once, so that every idle thread runs one
			defer runtime.UnlockOSThread()
			<-all
			home("a later goroutine", threadPath)
		})
	}
	close(all)
	wg.Wait()
}

// TestDoTogether runs many calls at once, in four namespaces.
func TestDoTogether(t *testing.T) {
	var spaces []*Namespace
	for range 4 {
		spaces = append(spaces, newNamespace(t))
	}
	var wg sync.WaitGroup
	for _, ns := range spaces {
		for range 4 {
			wg.Go(func() {
				for range 25 {
					err := ns.Do(func() error {
						id, err := identify(threadPath)
						if err == nil && id != ns.id {
							err = errors.New("another namespace")
						}
						return err
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
}

// TestCheckProcesses tries it, and Of itself, with other capabilities.
func TestCheckProcesses(t *testing.T) {
	lab.NeedRoot(t)
	other := exec.Command("cat") // another user's process
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer stdin.Close()
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	defer func(usual string) { firstPID = usual }(firstPID)
	firstPID = "pid:[1]"
	if err := CheckProcesses(); err == nil || !strings.Contains(err.Error(), "processes outside the PID namespace of recentfs") {
		t.Errorf("in another PID namespace than the first: %v", err)
	}
	firstPID = own
	for _, c := range []struct {
		name         string
		capabilities uint64
		can          bool
	}{
		{"all", ^uint64(0), true},
		{"none", 0, false},
		{"only CAP_SYS_PTRACE", 1 << unix.CAP_SYS_PTRACE, true},
		{"only CAP_SYS_ADMIN", 1 << unix.CAP_SYS_ADMIN, false},
		{"all but CAP_SYS_PTRACE", ^uint64(1 << unix.CAP_SYS_PTRACE), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab.WithCapabilities(t, c.capabilities, func() {
				if err := CheckProcesses(); (err == nil) != c.can {
					t.Errorf("CheckProcesses: %v, want success: %v", err, c.can)
				}
				if id, err := Of(other.Process.Pid); (err == nil) != c.can {
					t.Errorf("Of another user's process: %v, %v; want success: %v", id, err, c.can)
				}
			})
		})
	}
}
