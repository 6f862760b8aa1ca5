package control

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// limiter is a listener with at most max open connections. To accept one more, it
// closes another: see makeRoom. If it stopped to accept instead, silent clients
// would keep the others out.
type limiter struct {
	net.Listener
	max    int
	peerOf func(net.Conn) peer

	mu sync.Mutex
	// open has the connections in the order in which they came to their states;
	// guarded by mu.
	open []*conn
}

// state is what a connection waits for.
type state int

const (
	silent    state = iota // the first byte of the request
	asking                 // the rest of the request, or its turn
	atWork                 // our work
	answering              // the client, which reads the answer
)

// conn is a connection of a limiter. It goes through the states in their order.
type conn struct {
	net.Conn
	limiter *limiter
	peer    peer
	state   state // guarded by limiter.mu
}

// acceptRest is how long Accept waits after an error.
const acceptRest = 100 * time.Millisecond

// Accept implements net.Listener. It fails only if the listener is closed. If
// descriptors or memory have run out, it tries again.
func (l *limiter) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	for err != nil && !errors.Is(err, net.ErrClosed) {
		logrus.Warnf("control socket: %v", err)
		time.Sleep(acceptRest)
		accepted, err = l.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, limiter: l, peer: l.peerOf(accepted)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.max {
		l.makeRoom()
	}
	l.open = append(l.open, c)
	return c, nil
}

// makeRoom closes a connection that is not at work. It takes one of those who may not
// change anything, if there is one, of the user who has most of them, and of the process
// of that user which has most: the oldest silent one, or if there is none, the first in
// line. mu is held.
func (l *limiter) makeRoom() {
	users, processes := make(map[uint32]int), make(map[peer]int)
	var idle []*conn
	for _, c := range l.open {
		if c.state != atWork {
			idle = append(idle, c)
			users[c.peer.uid]++
			processes[c.peer]++
		}
	}
	if len(idle) == 0 {
		return
	}
	most := slices.MinFunc(idle, func(a, b *conn) int {
		if a.peer.mayChange() != b.peer.mayChange() {
			if a.peer.mayChange() {
				return 1
			}
			return -1
		}
		return cmp.Or(users[b.peer.uid]-users[a.peer.uid], processes[b.peer]-processes[a.peer])
	}).peer
	idle = slices.DeleteFunc(idle, func(c *conn) bool { return c.peer != most })
	first := idle[0]
	if i := slices.IndexFunc(idle, func(c *conn) bool { return c.state == silent && !c.hasInput() }); i >= 0 {
		first = idle[i]
	}
	first.remove()
	first.Conn.Close()
}

// closeUnasked closes the connections that have not sent all of a request, or
// whose turn has not come.
func (l *limiter) closeUnasked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	unasked := func(c *conn) bool { return c.state < atWork }
	for _, c := range l.open {
		if unasked(c) {
			c.Conn.Close()
		}
	}
	l.open = slices.DeleteFunc(l.open, unasked)
}

// hasInput reports whether the client has sent something that is not read yet.
// The goroutine that reads may be late.
func (c *conn) hasInput() (has bool) {
	control(c.Conn, func(fd int) {
		n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
		has = err == nil && n > 0
	})
	return has
}

// control calls f with the descriptor of a connection or listener, if it has one
// and is open.
func control(c any, f func(fd int)) {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // an error says that it is closed
		}
	}
}

// Read reads what the client sends. The state changes before anything leaves the
// socket: bytes that nobody has noted would not save the connection from makeRoom.
func (c *conn) Read(p []byte) (int, error) {
	if c.awaitInput() {
		c.reach(asking)
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.reach(asking) // it has no descriptor to wait for
	}
	return n, err
}

// awaitInput waits until there is something to read, which may be the end or an
// error, and reports whether it is bytes. It takes no lock while it uses the
// descriptor: Close waits for that.
func (c *conn) awaitInput() bool {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	_ = raw.Read(func(fd uintptr) bool { // Conn.Read has the same error
		var first [1]byte
		n, _, err = unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	return n > 0
}

// Close closes the connection.
func (c *conn) Close() error {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.remove()
	return c.Conn.Close()
}

// remove takes c off the list of connections. limiter.mu is held.
func (c *conn) remove() {
	c.limiter.open = slices.DeleteFunc(c.limiter.open, func(other *conn) bool { return other == c })
}

// reach moves the connection to a state and to the end of the line, unless it has
// been there.
func (c *conn) reach(s state) {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	if c.state >= s || !slices.Contains(c.limiter.open, c) { // or closed to make room
		return
	}
	c.remove()
	c.state = s
	c.limiter.open = append(c.limiter.open, c)
}
