package daemon

import (
	"fmt"

	"recentfs/capture/nfqueue"
	"recentfs/fs"
	"recentfs/match/ruleset"
)

// watchedQueue is a queue, and what its errors say of it.
type watchedQueue struct {
	*nfqueue.Queue
	explain func(error) error
	number  uint16
	rules   *ruleset.Queue // or nil
}

// decided counts packets of the batch that is at work. A batch takes long where each of
// its packets has to wait for a table, behind many readers. Where these get on, so does
// even one packet.
func (q *watchedQueue) decided() uint64 {
	if q.rules == nil {
		return 0
	}
	return q.rules.Counted()
}

// AtWork yields what the loops of the queues and of the mounts have to do now, and a
// number that stays as long as the same is at work. It waits for nothing, and is for one
// goroutine, once Start has returned.
//
// Server.mu is not watched: its holder may wait for a disk, while packets and files go
// on.
func (s *Server) AtWork(yield func(what string, number uint64) bool) {
	moved, passed := s.answers.module.Progress()
	for _, q := range s.watchedQueues() {
		for what, round := range q.AtWork {
			if !yield(q.explain(fmt.Errorf("queue %d: %s", q.number, what)).Error(), round+moved+passed+q.decided()) {
				return
			}
		}
	}
	for _, m := range []*fs.Mountpoint{s.tables, s.module} {
		for what, number := range m.AtWork {
			if !yield(m.Dir()+": "+what, number+moved+passed) {
				return
			}
		}
	}
}

// watchedQueues are the queues, as they were when Server.mu was free.
func (s *Server) watchedQueues() []watchedQueue {
	if s.mu.TryLock() {
		defer s.mu.Unlock()
		s.watched = s.watched[:0]
		for _, i := range s.instances {
			for n, q := range i.queues {
				w := watchedQueue{Queue: q.Queue, explain: i.explain, number: n}
				if i.set != nil {
					w.rules = i.set.Queue(n)
				}
				s.watched = append(s.watched, w)
			}
		}
	}
	return s.watched
}
