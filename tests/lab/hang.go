package lab

import (
	"bytes"
	"encoding/binary"
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

// Hang stops the n threads of a process that wait, until they end or the test does. All
// else of the process goes on: so a loop of it hangs. waits tells of a thread, by its
// directory in /proc, whether it waits.
func Hang(t testing.TB, pid, n int, waits func(thread string) bool) {
	t.Helper()
	stopped, end, ended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // ptrace knows the tracer by its thread
		defer runtime.UnlockOSThread()
		var threads []int
		stopped <- Await(func() (err error) {
			threads, err = stopThreads(pid, n, waits)
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
		t.Fatalf("hang process %d: %v", pid, err)
	}
}

// ForPackets tells whether a thread waits in the loop of a queue.
func ForPackets(thread string) bool { return isIn(thread, "sys_recvmmsg") }

// ForRequests tells whether a thread waits in the loop of a mount: in poll(2), for the
// FUSE device first.
func ForRequests(thread string) bool {
	call, _ := os.ReadFile(filepath.Join(thread, "syscall"))
	fields := strings.Fields(string(call))
	if !isIn(thread, "sys_poll") || len(fields) < 2 {
		return false
	}
	address, err := strconv.ParseInt(fields[1], 0, 64)
	if err != nil {
		return false
	}
	memory, err := os.Open(filepath.Join(thread, "mem"))
	if err != nil {
		return false
	}
	defer memory.Close()
	var fd [4]byte
	if _, err := memory.ReadAt(fd[:], address); err != nil {
		return false
	}
	// Its path is of no use where the process has other mounts.
	var its, device unix.Stat_t
	err = errors.Join(
		unix.Stat(filepath.Join(thread, "fd", fmt.Sprint(binary.NativeEndian.Uint32(fd[:]))), &its),
		unix.Stat("/dev/fuse", &device))
	return err == nil && its.Rdev == device.Rdev
}

// isIn tells whether the kernel's stack of a thread has a function with that end.
func isIn(thread, function string) bool {
	stack, err := os.ReadFile(filepath.Join(thread, "stack"))
	return err == nil && bytes.Contains(stack, []byte(function+"+"))
}

// stopThreads stops the threads that wait, if they are n.
func stopThreads(pid, n int, waits func(thread string) bool) (stopped []int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return nil, err
	}
	calls := make(map[int]string)
	for _, dir := range tasks {
		if !waits(dir) {
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
