package helper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

const (
	// idleTime is how long Serve goes on without a connection. A daemon that runs has
	// one.
	idleTime = 30 * time.Second
	// requestTime is how long a request may take to come, and its answer to be read.
	requestTime = 10 * time.Second
	// maxConnections is how many requests are at work at once. Others wait.
	maxConnections = 64
)

// server answers requests.
type server struct {
	own     Host
	allowed Allowed
	dirs    []string
	user    uint32 // who may ask, beside root
	room    chan struct{}
	end     func()         // has serve return
	working sync.WaitGroup // requests, but those that watch

	mu     sync.Mutex
	covers sync.Mutex // serialises what is done to the cover
	open   int        // guarded by mu: the connections
	last   time.Time  // guarded by mu: when there was one
}

// Serve answers at a socket, which it closes, with what is allowed. The owner of the
// socket's file may ask, and root. It returns when nobody has been connected for a
// while: then systemd listens, and starts another helper. If the namespaces that are
// allowed are not all there, it tells the first who asks, and ends.
func Serve(socket *net.UnixListener, allowed Allowed) error {
	defer socket.Close()
	path := socket.Addr().String()
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return fmt.Errorf("socket of the helper: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	err := allowed.check()
	var own *Own
	if err == nil {
		own, err = NewOwn(allowed)
	}
	if err != nil {
		refuse(socket, err)
		return err
	}
	defer own.Close()
	s := newServer(own, allowed)
	s.user = stat.Uid
	return s.serve(socket, idleTime)
}

func newServer(own Host, allowed Allowed) *server {
	return &server{own: own, allowed: allowed, dirs: allowed.dirs(), room: make(chan struct{}, maxConnections), last: time.Now()}
}

func (s *server) serve(socket *net.UnixListener, idle time.Duration) error {
	defer s.working.Wait()
	ended := make(chan struct{})
	s.end = sync.OnceFunc(func() {
		close(ended)
		_ = socket.Close() // whoever comes now is another helper's
	})
	for {
		s.room <- struct{}{}
		_ = socket.SetDeadline(time.Now().Add(idle)) // fails on a closed one only
		c, err := socket.AcceptUnix()
		if isClosed(ended) && err != nil {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			<-s.room
			if s.isIdle(idle) {
				return nil
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("socket of the helper: %w", err)
		}
		s.count(1)
		s.working.Add(1)
		go func() {
			defer func() { s.count(-1); <-s.room }()
			defer c.Close()
			done := sync.OnceFunc(s.working.Done)
			defer done()
			s.answer(c, done)
		}()
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

// refuse answers the next request with an error.
func refuse(socket *net.UnixListener, err error) {
	c, failed := socket.AcceptUnix()
	if failed != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(requestTime)) // fails on a closed one only
	var r request
	fds, _ := receive(c, &r, maxRequest)
	closeAll(fds)
	var a answer
	a.fail(err)
	_ = send(c, a) // whoever asked may be gone
}

func (s *server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	s.last = time.Now()
}

func (s *server) isIdle(idle time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open == 0 && time.Since(s.last) >= idle
}

// answer answers the request of a connection. It calls watches before it watches for it.
func (s *server) answer(c *net.UnixConn, watches func()) {
	_ = c.SetDeadline(time.Now().Add(requestTime)) // fails on a closed one only
	var a answer
	var give []int
	var r request
	var pid int
	fds, err := receive(c, &r, maxRequest)
	if err == nil {
		pid, err = s.mayAsk(c)
	}
	switch {
	case err != nil:
	case r.Do == watch:
		watches()
		if err = s.watch(c, pid); err == nil {
			return
		}
	default:
		give, err = s.do(&r, fds, &a)
	}
	if a.fail(err); err != nil {
		logrus.Debugf("helper: %s: %v", r.Do, err)
	}
	_ = c.SetDeadline(time.Now().Add(requestTime))
	_ = send(c, a, give...) // whoever asked may be gone
	closeAll(give)
	closeAll(fds)
}

// mayAsk refuses who is neither root nor the owner of the socket. It returns who asks.
func (s *server) mayAsk(c *net.UnixConn) (pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if controlled := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); controlled != nil {
		return 0, controlled
	}
	if err != nil {
		return 0, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	if cred.Uid != 0 && cred.Uid != s.user {
		return 0, fmt.Errorf("user %d may not ask: %w", cred.Uid, unix.EPERM)
	}
	return int(cred.Pid), nil
}

// watch sends a byte for each change, until the other side, which is a process, has gone.
func (s *server) watch(c *net.UnixConn, pid int) error {
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	tell := func() {
		_ = c.SetWriteDeadline(time.Now().Add(requestTime))
		if _, err := c.Write([]byte{watches}); err != nil {
			_ = c.Close() // it does not read, or has gone
		}
	}
	stop, err := s.own.Watch(tell)
	if err != nil {
		return err
	}
	defer stop()
	tell()
	left := make(chan struct{})
	go func() {
		defer close(left)
		gone(c)
	}()
	s.awaitEnd(pid, left)
	return nil
}

// gone waits until the other side has closed a connection, of which it has ended its
// own direction already.
func gone(c *net.UnixConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	// The poller wakes for an event (EPOLLHUP), and Control fails on a closed one.
	_ = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(poll, 0)
		return err != nil && !errors.Is(err, unix.EINTR) || n > 0 && poll[0].Revents&unix.POLLHUP != 0
	})
}
