package namespaces

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestID comes to one namespace by several ways.
func TestID(t *testing.T) {
	ns, other := newNamespace(t), newNamespace(t)
	if ns.ID() == other.ID() {
		t.Fatalf("two namespaces are both %v", ns.ID())
	}
	first, second := named("red"), filepath.Join(t.TempDir(), "crimson")
	bind(t, ns, first)
	bind(t, ns, second)
	p := startProcess(t, ns)
	for _, c := range []struct{ name, path string }{
		{"a name", first},
		{"another path", second},
		{"a process", processPath(p.pid())},
		{"by way of its root directory", "/proc/self/root" + first},
	} {
		t.Run(c.name, func(t *testing.T) {
			if id := open(t, c.path).ID(); id != ns.ID() {
				t.Errorf("%s is %v, want %v", c.path, id, ns.ID())
			}
		})
	}
	if id, err := Of(p.cmd.Process.Pid); err != nil || id != ns.ID() {
		t.Errorf("Of a process inside: %v, %v; want %v", id, err, ns.ID())
	}
	text, err := os.Readlink(processPath(p.pid()))
	if err != nil || text != ns.ID().String() {
		t.Errorf("readlink: %q, %v; String: %q", text, err, ns.ID())
	}
	own, err := Own()
	if err != nil || own == ns.ID() || own != open(t, ownPath).ID() {
		t.Errorf("Own: %v, %v", own, err)
	}
	if id, err := Of(os.Getpid()); err != nil || id != own {
		t.Errorf("Of this process: %v, %v; want %v", id, err, own)
	}
	p.end()
	if id, err := Of(p.cmd.Process.Pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Of a process that is gone: %v, %v", id, err)
	}
}

// TestOpenOthers opens what is no network namespace.
func TestOpenOthers(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	for _, c := range []struct{ name, path, want string }{
		{"nothing", dir + "/nosuch", "no such file or directory"},
		{"a file", file, "is no network namespace"},
		{"a directory", dir, "is no network namespace"},
		{"a pipe that nobody writes", pipe, "is no network namespace"},
		{"a device", "/dev/null", "is no network namespace"},
		{"a mount namespace", "/proc/self/ns/mnt", "is no network namespace"},
		{"a user namespace", "/proc/self/ns/user", "is no network namespace"},
		{"no path", "", "no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns, err := Open(c.path)
			if err == nil {
				ns.Close()
				t.Fatalf("opened as %v", ns.ID())
			}
			if !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors, before it was %d", now, before)
	}
}

func TestDo(t *testing.T) {
	ns := newNamespace(t)
	inside := func() error {
		if id, err := identify(threadPath); err != nil || id != ns.ID() {
			t.Errorf("inside it is %v, %v; want %v", id, err, ns.ID())
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
		{"inside of itself", func() error { return ns.Do(inside) }, ""},
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
	t.Run("of a namespace that is closed", func(t *testing.T) {
		closed := newNamespace(t)
		closed.Close()
		if err := closed.Do(func() error { t.Error("called"); return nil }); !errors.Is(err, unix.EBADF) {
			t.Errorf("%v, want EBADF", err)
		}
	})
}

// TestDoLeavesNoTrace finds nothing else inside of a namespace after calls to
// Do: not the thread that called, no thread that goroutines run on later, and
// not the main thread, whose namespace is what others see of the process.
func TestDoLeavesNoTrace(t *testing.T) {
	ns := newNamespace(t)
	own, err := Own()
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
	// By turns from this thread and from others, of which one is the main one.
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
			runtime.LockOSThread() // 100 threads at once, so that none stays unseen
			defer runtime.UnlockOSThread()
			<-all
			home("a later goroutine", threadPath)
		})
	}
	close(all)
	wg.Wait()
}

// TestDoTogether runs many at once, each in its own namespace.
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
						if err == nil && id != ns.ID() {
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
