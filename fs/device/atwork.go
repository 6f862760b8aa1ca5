package device

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// AtWork yields what there is to do now on the connection, and a number of it. The
// number stays as long as the same request is at work, or as long as nobody takes those
// that wait. So who finds the same again and again knows that it hangs. A request that
// waits for memory, since many others are at work, does not count. AtWork waits for
// nothing, and may be called at any time by any goroutine.
func (c *Conn) AtWork(yield func(what string, number uint64) bool) {
	l := c.serving.Load()
	if l == nil {
		return
	}
	switch round := l.rounds.Load(); {
	case round%2 != 0:
		if !yield("the loop is at the same request", round) {
			return
		}
	case !l.leaving.Load() && c.isReadable():
		if !yield("requests wait, and the loop does not take them", round) {
			return
		}
	}
	for i := range l.slow {
		if unique := l.slow[i].Load(); unique != 0 && l.answering[i].Load() && !yield("the same request is at work", unique) {
			return
		}
	}
}

// isReadable tells whether there is a request to read.
func (c *Conn) isReadable() bool {
	if !c.inUse.TryRLock() {
		return false // it is just being closed
	}
	defer c.inUse.RUnlock()
	poll := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents&unix.POLLIN != 0
}

// slowRequest is the place of a request in loop.slow. The zero slowRequest has none.
type slowRequest struct {
	unique    *atomic.Uint64
	answering *atomic.Bool
}

// noteSlow notes that another goroutine is to answer the request in l.in, and returns
// where. There is no place for it if too many are at work.
func (l *loop) noteSlow() slowRequest {
	for range l.slow {
		l.nextSlow = (l.nextSlow + 1) % len(l.slow)
		if at := &l.slow[l.nextSlow]; at.Load() == 0 {
			at.Store(header(l.in).Unique)
			return slowRequest{at, &l.answering[l.nextSlow]}
		}
	}
	return slowRequest{}
}

// begin says that the request waits for nothing any more but its answer.
func (s slowRequest) begin() {
	if s.answering != nil {
		s.answering.Store(true)
	}
}

// end says that it is answered.
func (s slowRequest) end() {
	if s.unique != nil {
		s.answering.Store(false)
		s.unique.Store(0)
	}
}
