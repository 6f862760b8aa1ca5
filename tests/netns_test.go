package tests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// netns is a network namespace without a name, on a thread of its own. The
// mount namespace stays everyone's, so that a mount made there is seen here.
type netns struct {
	calls chan func()
	path  string // for ip(8)
}

// newNetns makes a namespace that ends with the test, however that ends.
func newNetns(t testing.TB) *netns {
	t.Helper()
	ns := makeNetns(t)
	t.Cleanup(ns.end)
	ns.sh(t, "ip link set lo up")
	return ns
}

// makeNetns makes a namespace that lasts until end.
func makeNetns(t testing.TB) *netns {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace can only be made by root: run make test as root")
	}
	ns := &netns{calls: make(chan func())}
	made := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine, the namespace
		// and whatever was started in it (Pdeathsig) with the thread.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		ns.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- err
		for call := range ns.calls {
			call()
		}
	}()
	if err := <-made; err != nil {
		ns.end()
		t.Fatalf("unshare(CLONE_NEWNET): %v", err)
	}
	return ns
}

// end ends the namespace's thread.
func (ns *netns) end() { close(ns.calls) }

// do calls f on the namespace's thread: sockets that f opens, files of
// /proc/thread-self/net and /proc/sys/net are the namespace's. f may not end
// the test.
func (ns *netns) do(f func()) {
	done := make(chan struct{})
	ns.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// start starts cmd in the namespace.
func (ns *netns) start(cmd *exec.Cmd) (err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	ns.do(func() { err = cmd.Start() })
	return err
}

// outcome is how a command ended.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs a command to its end and returns how that was; it fails only where
// the command cannot be run or does not end.
func (ns *netns) run(t testing.TB, name string, args ...string) outcome {
	t.Helper()
	return ns.finish(t, exec.Command(name, args...))
}

// finish runs a prepared command to its end.
func (ns *netns) finish(t testing.TB, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := ns.start(cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	err := cmd.Wait()
	if ctx.Err() != nil {
		t.Fatalf("%v: no end after %v\n%s%s", cmd, patience, &stdout, &stderr)
	}
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatalf("%v: %v", cmd, err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// sh runs a shell script that must succeed and returns what it printed.
func (ns *netns) sh(t testing.TB, script string) string {
	t.Helper()
	got := ns.run(t, "sh", "-euc", script)
	if got.code != 0 {
		t.Fatalf("%s\nexit %d: %s%s", script, got.code, got.stdout, got.stderr)
	}
	return got.stdout
}

// queues are the NFQUEUE numbers bound in the namespace, each with the number
// of packets that came by it.
func (ns *netns) queues(t testing.TB) map[int]int {
	t.Helper()
	var text []byte
	var err error
	ns.do(func() { text, err = os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue") })
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
