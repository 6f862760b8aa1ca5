package control

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// limiter is a listener with at most max open connections. To accept one more, it
// closes the connection that has waited longest for its client. If it stopped to
// accept instead, silent clients would keep the others out.
type limiter struct {
	net.Listener
	max int

	mu sync.Mutex
	// open has the connections, guarded by mu. Those that wait for their clients
	// are in the order in which they began to wait.
	open []*conn
}

// conn is a connection of a limiter.
type conn struct {
	net.Conn
	limiter *limiter
	busy    bool // guarded by limiter.mu: it waits for us, not for its client
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
	c := &conn{Conn: accepted, limiter: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= l.max {
		if i := slices.IndexFunc(l.open, (*conn).waits); i >= 0 {
			l.open[i].Conn.Close()
			l.open = slices.Delete(l.open, i, i+1)
		}
	}
	l.open = append(l.open, c)
	return c, nil
}

// closeWaiting closes all connections that wait for their clients.
func (l *limiter) closeWaiting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		if c.waits() {
			c.Conn.Close()
		}
	}
	l.open = slices.DeleteFunc(l.open, (*conn).waits)
}

// waits reports whether c waits for its client. limiter.mu is held.
func (c *conn) waits() bool { return !c.busy }

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

// setBusy sets whether the connection waits for us from now on. A connection that
// waits for its client again goes to the end of the line.
func (c *conn) setBusy(busy bool) {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	if !slices.Contains(c.limiter.open, c) {
		return // closed to make room
	}
	c.remove()
	c.busy = busy
	c.limiter.open = append(c.limiter.open, c)
}
