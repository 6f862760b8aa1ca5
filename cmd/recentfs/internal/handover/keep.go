package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Leave is the signal on which a worker leaves everything to the next one.
const Leave = syscall.SIGUSR2

const (
	// startTime is how long a worker may take to be ready. Packets wait meanwhile.
	startTime = 30 * time.Second
	// A worker that dies is replaced, unless burst of them have died within
	// burstTime, as in systemd.
	burst     = 5
	burstTime = 10 * time.Second
)

// keeper is the process of Keep.
type keeper struct {
	program string
	args    []string    // of the next worker, with the program's name
	next    []string    // of all workers but the first
	pending []os.Signal // that no worker has got yet
	socket  *net.UnixConn
	outer   *Holder // whoever started us and wants to know that we are ready; may be nil

	drained chan struct{} // gets one when serve meets a message of our own

	mu     sync.Mutex
	store  Held          // guarded by mu
	worker int           // guarded by mu: the number of the last worker's process
	alive  bool          // guarded by mu: it has not ended
	ready  chan struct{} // guarded by mu: closed when the worker is ready
}

// Keep runs a program as a worker, and holds what the worker stores. When the worker
// dies, or has left on SIGUSR2, the next one gets it. SIGTERM and SIGINT end the
// worker, and Keep with it. It returns the worker's exit code. The first worker gets
// first as its arguments, and each further one next, all with the program's name. If no
// worker goes on with what is stored, abandon gets it.
func Keep(program string, first, next []string, abandon func(Held)) (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, Leave)
	defer signal.Stop(signals)
	k := &keeper{program: program, args: first, next: next, store: make(Held), drained: make(chan struct{})}
	if k.outer, err = NewHolder(); err != nil {
		return 1, err
	}
	os.Unsetenv(notifySocket) // the worker has another
	if err := k.listen(); err != nil {
		return 1, fmt.Errorf("--keep: %w", err)
	}
	defer k.socket.Close()
	go k.serve()
	code, err = k.run(signals)
	k.mu.Lock()
	defer k.mu.Unlock()
	abandon(k.store)
	k.store.Close()
	k.outer.Close()
	return code, err
}

// listen makes the socket for the worker's messages. It has no name that others could
// guess, and messages of others are ignored.
func (k *keeper) listen() (err error) {
	if k.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"}); err != nil {
		return err
	}
	raw, err := k.socket.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); err != nil {
		return err
	}
	return set
}

// run starts workers, one after the other.
func (k *keeper) run(signals <-chan os.Signal) (code int, err error) {
	var deaths []time.Time
	for {
		ready := make(chan struct{})
		ended, err := k.start(ready)
		if err != nil {
			return 1, err
		}
		status, told := k.watch(ready, ended, signals)
		switch code := exitCode(status); {
		case told == syscall.SIGTERM, told == syscall.SIGINT:
			return code, nil
		case told == Leave && code == 0:
			continue
		case code == 0: // it has stopped by itself, in order
			return 0, nil
		case !isClosed(ready):
			return code, errors.New("--keep: recentfs did not get ready")
		}
		deaths = append(deaths, time.Now())
		if len(deaths) > burst {
			deaths = slices.Delete(deaths, 0, 1)
			if time.Since(deaths[0]) < burstTime {
				return 1, fmt.Errorf("--keep: recentfs died %d times within %v: queues and mounts are given up", burst, burstTime)
			}
		}
		logrus.Warnf("recentfs has died (%s): the next one goes on", describe(status))
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// watch passes signals on to the worker until it has ended. It returns how it ended,
// and the signal that told it to, or nil. A worker that is not ready yet would die of a
// signal, and one that has been told to end gets no other: they wait for it, or for the
// next worker.
func (k *keeper) watch(ready <-chan struct{}, ended <-chan syscall.WaitStatus, signals <-chan os.Signal) (status syscall.WaitStatus, told os.Signal) {
	late := time.After(startTime)
	getsReady := ready
	for {
		for getsReady == nil && told == nil && len(k.pending) > 0 {
			s := k.pending[0]
			k.pending = k.pending[1:]
			if s != syscall.SIGHUP {
				told = s
			}
			k.signal(s.(syscall.Signal))
		}
		select {
		case status := <-ended:
			return status, told
		case s := <-signals:
			k.pending = append(k.pending, s)
		case <-getsReady:
			getsReady = nil
		case <-late:
			if getsReady != nil {
				logrus.Errorf("--keep: recentfs is not ready after %v, and is killed", startTime)
				k.signal(syscall.SIGKILL)
			}
		}
	}
}

// start starts a worker with what is stored. The channel gets how it ended.
func (k *keeper) start(ready chan struct{}) (<-chan syscall.WaitStatus, error) {
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
		fmt.Sprint(listenFDs, "=", len(names)), listenNames+"="+strings.Join(names, ":"))
	pid, err := syscall.ForkExec(k.program, k.args, &syscall.ProcAttr{Env: env, Files: files})
	if err != nil {
		return nil, fmt.Errorf("--keep: start %s: %w", k.program, err)
	}
	k.worker, k.alive, k.ready = pid, true, ready
	k.args = k.next
	ended := make(chan syscall.WaitStatus, 1)
	go func() { ended <- k.wait(pid) }()
	return ended, nil
}

// wait waits for the end of a worker, and until its last message has been met.
func (k *keeper) wait(pid int) (status syscall.WaitStatus) {
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	k.mu.Lock()
	k.alive = false
	k.mu.Unlock()
	if _, err := k.socket.WriteTo(nil, k.socket.LocalAddr()); err == nil {
		<-k.drained
	}
	return status
}

// signal sends the worker a signal. One that has just ended has no need of it.
func (k *keeper) signal(s syscall.Signal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.alive {
		_ = syscall.Kill(k.worker, s)
	}
}

// serve takes the worker's messages until the socket is closed.
func (k *keeper) serve() {
	text, control := make([]byte, recordSize), make([]byte, unix.CmsgSpace(4*maxFDs)+unix.CmsgSpace(unix.SizeofUcred))
	for {
		n, nc, _, _, err := k.socket.ReadMsgUnix(text, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			k.message(string(text[:n]), control[:nc])
		}
	}
}

// message does what a message asks for, if it is the worker's.
func (k *keeper) message(text string, control []byte) {
	from := sender(control)
	if from == os.Getpid() {
		k.drained <- struct{}{}
		return
	}
	fds, err := descriptors(control)
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		fields[key] = value
	}
	name := fields["FDNAME"]
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil || from != k.worker {
		closeAll(fds)
		return
	}
	switch {
	case fields["FDSTORE"] == "1" && name != "":
		k.store[name] = append(k.store[name], fds...)
		return
	case fields["FDSTOREREMOVE"] == "1":
		closeAll(append(k.store.Take(name), fds...))
		return
	case fields["READY"] == "1" && !isClosed(k.ready):
		close(k.ready)
	}
	closeAll(fds)
	if k.outer != nil {
		_ = k.outer.send(text) // whoever started us need not listen
	}
}

// sender is the process that sent a message, if it is root's or of our own user: the
// number of a worker that has ended may be another's.
func sender(control []byte) int {
	messages, _ := unix.ParseSocketControlMessage(control)
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid()) {
			return int(cred.Pid)
		}
	}
	return -1
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // it is ours
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
