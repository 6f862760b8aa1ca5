package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Hang stops the n threads of a process that wait in a system call, of which the
// kernel's stack has a function with that end, until they end or the test does. All else
// of the process goes on: so a loop of it hangs.
func Hang(t testing.TB, pid, n int, function string) {
	t.Helper()
	stopped, end, ended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // ptrace knows the tracer by its thread
		defer runtime.UnlockOSThread()
		var threads []int
		stopped <- Await(func() (err error) {
			threads, err = stopThreads(pid, n, function)
			return err
		})
		for ; len(threads) > 0; time.Sleep(time.Millisecond) {
			threads = reap(threads, end)
		}
	}()
	t.Cleanup(func() {
		close(end)
		<-ended
	})
	if err := <-stopped; err != nil {
		t.Fatalf("hang process %d in %s: %v", pid, function, err)
	}
}

// stopThreads stops the threads in a system call, if they are n.
func stopThreads(pid, n int, function string) (stopped []int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return nil, err
	}
	calls := make(map[int]string)
	for _, dir := range tasks {
		stack, err := os.ReadFile(dir + "/stack")
		if err != nil || !bytes.Contains(stack, []byte(function+"+")) {
			continue
		}
		tid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		calls[tid] = systemCall(dir)
	}
	if len(calls) != n {
		return nil, fmt.Errorf("%d threads are there, not %d", len(calls), n)
	}
	for tid, call := range calls {
		if err = errors.Join(unix.PtraceSeize(tid), unix.PtraceInterrupt(tid)); err == nil {
			_, err = unix.Wait4(tid, nil, unix.WALL, nil)
			stopped = append(stopped, tid)
		}
		if err == nil && systemCall(fmt.Sprintf("/proc/%d/task/%d", pid, tid)) != call {
			err = errors.New("a thread was just on its way")
		}
	}
	if err != nil {
		for _, tid := range stopped {
			err = errors.Join(err, unix.PtraceDetach(tid))
		}
		return nil, err
	}
	return stopped, nil
}

// systemCall is the number of the system call that a thread is in.
func systemCall(dir string) string {
	text, _ := os.ReadFile(dir + "/syscall")
	number, _, _ := strings.Cut(string(text), " ")
	return number
}

// reap returns those of the threads that have not ended. At the end it lets them go.
func reap(threads []int, end <-chan struct{}) (left []int) {
	for _, tid := range threads {
		var status unix.WaitStatus
		if n, err := unix.Wait4(tid, &status, unix.WALL|unix.WNOHANG, nil); err != nil || n == tid && (status.Exited() || status.Signaled()) {
			continue
		}
		select {
		case <-end:
			_ = unix.PtraceDetach(tid) // or it has just ended
		default:
			left = append(left, tid)
		}
	}
	return left
}
