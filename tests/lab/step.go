package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that is stepped calls LockStepped first of all, and StopStepped before and
// after what is stepped.

// LockStepped keeps the caller on the thread that is traced. It is called by an init.
func LockStepped() { runtime.LockOSThread() }

// StopStepped tells Step that what is stepped begins or ends.
func StopStepped() { _ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP) }

// Step runs this test binary again, one instruction at a time between its two calls of
// StopStepped. before is called before the first instruction, each after each. files
// are the process's descriptors from 3 on, env is its environment beside ours. It
// returns the number of instructions.
func Step(t testing.TB, env string, files []*os.File, before, each func()) (steps int) {
	t.Helper()
	runtime.LockOSThread() // ptrace knows the tracer by its thread
	defer runtime.UnlockOSThread()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), env, "GODEBUG=asyncpreemptoff=1", "GOGC=off")
	c.ExtraFiles = files
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := c.Process.Pid
	var others []int // its other threads, once they are stopped
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		for _, tid := range others {
			_, _ = unix.Wait4(tid, nil, unix.WALL, nil)
		}
		_ = c.Wait()
	}()
	waitStop := func() unix.Signal {
		t.Helper()
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
			t.Fatal(err)
		}
		if !status.Stopped() {
			t.Fatalf("the process has ended: %x", status)
		}
		return status.StopSignal()
	}
	waitStop() // at exec
	for sig := unix.Signal(0); ; {
		if err := unix.PtraceCont(pid, int(sig)); err != nil {
			t.Fatal(err)
		}
		if sig = waitStop(); sig == unix.SIGSTOP {
			break
		}
	}
	others = stopOthers(t, pid)
	for before(); ; steps++ {
		if err := unix.PtraceSingleStep(pid); err != nil {
			t.Fatal(err)
		}
		if waitStop() == unix.SIGSTOP {
			return steps
		}
		each()
	}
}

// stopOthers stops all threads of a process but the first. Go's runtime would take the
// first one for slow, and give others its turn, which takes more instructions than what
// is stepped.
func stopOthers(t testing.TB, pid int) (stopped []int) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			t.Fatal(err)
		}
		if tid == pid {
			continue
		}
		if err := unix.PtraceSeize(tid); err != nil {
			t.Fatal(err)
		}
		stopped = append(stopped, tid)
		if err := unix.PtraceInterrupt(tid); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Wait4(tid, nil, unix.WALL, nil); err != nil {
			t.Fatal(err)
		}
	}
	return stopped
}

// MemoryFile makes a file in memory, mapped, that another process can map too. One of
// no size is not mapped.
func MemoryFile(t testing.TB, size int) (*os.File, []byte) {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "memory")
	t.Cleanup(func() { file.Close() })
	if size == 0 {
		return file, nil
	}
	if err := file.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	bytes, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(bytes) })
	return file, bytes
}
