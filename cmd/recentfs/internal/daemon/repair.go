package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"
)

// repair is of a queue whose socket has failed.
type repair struct {
	backoff
	down   bool   // it is to be bound again
	said   string // why it cannot be bound, as far as that was said
	broken sparingly
}

// mendQueues takes the queues whose sockets fail down and up again, until ctx is
// done.
func (s *Server) mendQueues(ctx context.Context) {
	var retry <-chan time.Time
	for {
		select {
		case <-s.broken:
		case <-retry:
		case <-ctx.Done():
			return
		}
		retry = nil
		if next := s.mend(time.Now()); !next.IsZero() {
			retry = time.After(time.Until(next))
		}
	}
}

// mend takes down the queues that have broken, and binds those that are due. It
// returns when the next one is due, or 0.
func (s *Server) mend(now time.Time) (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		i.takeDownBroken(now)
		next = earlier(next, i.bindAgain(now))
	}
	s.setProcs()
	return next
}

// takeDownBroken closes the queues whose loops have ended by themselves. Server.mu
// is held.
func (i *instance) takeDownBroken(now time.Time) {
	for n, q := range i.queues {
		select {
		case <-q.done:
		default:
			continue
		}
		if err := i.unbind(n); err != nil {
			logrus.Warn(i.explain(err))
		}
		r := i.repairs[n]
		if r == nil {
			r = new(repair)
			i.repairs[n] = r
		}
		r.failed(now)
		r.down = true
		if times := r.broken.say(now); times > 0 {
			logrus.Warnf("%v: its socket has failed%s; the queue is closed and bound again, and the packets that waited in it are dropped", i.explain(q.err), often(times))
		}
	}
}

// bindAgain binds the queues that are due, and returns when the next one is.
// Server.mu is held.
func (i *instance) bindAgain(now time.Time) (next time.Time) {
	for n, r := range i.repairs {
		if !r.down {
			continue
		}
		if !r.due(now) {
			next = earlier(next, r.next)
			continue
		}
		q, err := i.openQueue(n)
		if err != nil {
			r.failed(now)
			next = earlier(next, r.next)
			if text := err.Error(); text != r.said {
				r.said = text
				logrus.Errorf("%v; its packets are not decided for now: recentfs tries again, every %v at the latest", i.explain(err), longestWait)
			}
			continue
		}
		r.down = false
		i.bind(n, q)
		if r.said != "" {
			r.said = ""
			logrus.Info(i.explain(fmt.Errorf("queue %d is bound again", n)))
		}
	}
	return next
}
