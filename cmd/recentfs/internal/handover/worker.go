package handover

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// worker is a process that Keep runs.
type worker struct {
	pid   int
	alive bool          // guarded by keeper.mu: it has not ended
	ready chan struct{} // closed when it is ready
	works chan struct{} // gets one when it says that it works
	hangs chan string   // gets the reason when it says that something in it hangs
	ended chan syscall.WaitStatus
}

// start starts a worker with what is stored.
func (k *keeper) start() (*worker, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	files := []uintptr{0, 1, 2}
	var names []string
	for name, fds := range k.store {
		for _, fd := range fds {
			files, names = append(files, uintptr(fd)), append(names, name)
		}
	}
	env := append(os.Environ(), notifySocket+"="+k.socket.LocalAddr().String(), fmt.Sprint(listenPID, "=", os.Getpid()),
		fmt.Sprint(listenFDs, "=", len(names)), listenNames+"="+strings.Join(names, ":"),
		fmt.Sprint(watchdogTime, "=", k.interval.Microseconds()))
	pid, err := syscall.ForkExec(k.program, k.args, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return nil, fmt.Errorf("--keep: start %s: %w", k.program, err)
	}
	k.args = k.next
	k.last = newWorker(pid)
	go func(w *worker) { w.ended <- k.wait(w) }(k.last)
	return k.last, nil
}

func newWorker(pid int) *worker {
	return &worker{
		pid: pid, alive: true, ready: make(chan struct{}), works: make(chan struct{}, 1), hangs: make(chan string, 1),
		ended: make(chan syscall.WaitStatus, 1),
	}
}

// wait waits for the end of a worker, and until its last message has been met.
func (k *keeper) wait(w *worker) (status syscall.WaitStatus) {
	for {
		if _, err := syscall.Wait4(w.pid, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	k.mu.Lock()
	w.alive = false
	k.mu.Unlock()
	if _, err := k.socket.WriteTo(nil, k.socket.LocalAddr()); err == nil {
		<-k.drained
	}
	return status
}

// signal sends the worker a signal. One that has just ended has no need of it.
func (k *keeper) signal(w *worker, s syscall.Signal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w.alive {
		_ = syscall.Kill(w.pid, s)
	}
}

// exitCode is a worker's exit code as a shell has it.
func exitCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return s.Signal().String()
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}
