package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Netns is a network namespace on a thread of its own, at first without a name.
// All namespaces of a test share its mounts.
type Netns struct {
	Path  string // for ip(8) and mount(2)
	calls chan func()
}

// NewNetns makes a namespace that ends with the test. Its loopback device is up.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	ns := MakeNetns(t)
	t.Cleanup(ns.End)
	ns.Sh(t, "ip link set lo up")
	return ns
}

// MakeNetns makes a namespace that lasts until End.
func MakeNetns(t testing.TB) *Netns {
	t.Helper()
	NeedRoot(t)
	ns := &Netns{calls: make(chan func())}
	made := make(chan error)
	go ns.live(made)
	if err := <-made; err != nil {
		ns.End()
		t.Fatalf("unshare(CLONE_NEWNET): %v", err)
	}
	return ns
}

// live moves a thread into a new namespace, says so, and does the calls.
func (ns *Netns) live(made chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The main thread cannot end before the process. It is locked here
		// until another thread has the namespace.
		defer runtime.UnlockOSThread()
		elsewhere := make(chan error)
		go ns.live(elsewhere)
		made <- <-elsewhere
		return
	}
	// Never unlocked: the thread ends with this goroutine. The namespace, and
	// what was started in it (Pdeathsig), end with the thread.
	err := unix.Unshare(unix.CLONE_NEWNET)
	ns.Path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
	made <- err
	for call := range ns.calls {
		call()
	}
}

// NewNamed makes a namespace with a name.
func NewNamed(t testing.TB, name string) *Netns {
	t.Helper()
	ns := NewNetns(t)
	ns.Attach(t, name)
	return ns
}

// End ends the namespace's thread.
func (ns *Netns) End() { close(ns.calls) }

// Do calls f on the namespace's thread: sockets that f opens,
// /proc/thread-self/net and /proc/sys/net are the namespace's. f must not end
// the test (t.Fatal), which would end the thread.
func (ns *Netns) Do(f func() error) error {
	done := make(chan error, 1)
	ns.calls <- func() {
		defer close(done)
		done <- f()
	}
	return <-done
}

// Start starts cmd in the namespace.
func (ns *Netns) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	return ns.Do(cmd.Start)
}

// Outcome is how a command ended.
type Outcome struct {
	Stdout, Stderr string
	Code           int
}

// Run runs a command to its end. It fails the test only where the command
// cannot be run or does not end.
func (ns *Netns) Run(t testing.TB, name string, args ...string) Outcome {
	t.Helper()
	return ns.Finish(t, exec.Command(name, args...))
}

// Finish runs a prepared command to its end.
func (ns *Netns) Finish(t testing.TB, cmd *exec.Cmd) Outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	err := cmd.Wait()
	if ctx.Err() != nil {
		t.Fatalf("%v: no end after %v\n%s%s", cmd, Patience, &stdout, &stderr)
	}
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatalf("%v: %v", cmd, err)
	}
	return Outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Sh runs a shell script that must succeed and returns what it printed.
func (ns *Netns) Sh(t testing.TB, script string) string {
	t.Helper()
	got := ns.Run(t, "sh", "-euc", script)
	if got.Code != 0 {
		t.Fatalf("%s\nexit %d: %s%s", script, got.Code, got.Stdout, got.Stderr)
	}
	return got.Stdout
}

// Queues are the NFQUEUE numbers bound in the namespace, each with the number
// of packets that came to it.
func (ns *Netns) Queues(t testing.TB) map[int]int {
	t.Helper()
	var text []byte
	err := ns.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	queues := map[int]int{}
	for line := range strings.Lines(string(text)) {
		// seq_show of net/netfilter/nfnetlink_queue.c
		var number, portid, waiting, mode, length, dropped, lost, packets int
		if _, err := fmt.Sscan(line, &number, &portid, &waiting, &mode, &length, &dropped, &lost, &packets); err != nil {
			t.Fatalf("nfnetlink_queue: %q: %v", line, err)
		}
		queues[number] = packets
	}
	return queues
}

// NetnsDir is where ip(8) keeps the names of namespaces.
const NetnsDir = "/run/netns"

// Attach gives the namespace a name until the end of the test or until Detach.
func (ns *Netns) Attach(t testing.TB, name string) {
	t.Helper()
	if err := ns.Name(name); err != nil {
		t.Fatalf("name a namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := Detach(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// Name gives the namespace a name until Detach.
func (ns *Netns) Name(name string) error { return Bind(ns.Path, filepath.Join(NetnsDir, name)) }

// Detach takes a namespace's name away.
func Detach(name string) error { return Unbind(filepath.Join(NetnsDir, name)) }

// Bind mounts the file of a namespace on a new file, as `ip netns attach` does.
func Bind(ns, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return err
	}
	return os.NewSyscallError("mount", unix.Mount(ns, path, "", unix.MS_BIND, ""))
}

// Unbind undoes Bind, as `ip netns delete` does.
func Unbind(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	// EINVAL: it is not a mount any more.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("umount %s: %w", path, err)
	}
	return os.Remove(path)
}
