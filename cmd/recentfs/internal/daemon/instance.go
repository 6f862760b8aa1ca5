package daemon

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"recentfs/capture"
	"recentfs/capture/nfqueue"
	"recentfs/cmd/recentfs/internal/helper"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/match/state"
	"recentfs/namespaces"
)

// instance is what recentfs has in one network namespace: tables, rules, and the
// queues whose packets the rules decide. It is the kernel's struct recent_net,
// between recent_net_init and recent_net_exit.
type instance struct {
	name      string // of its folder in the mount; empty if its tables are at the root
	host      helper.Host
	found     namespaces.Found
	held      *os.File // of the namespace, which exists as long as this is open
	rulesFile string
	registry  *recent.Registry
	state     *state.Dir // keeps the tables; nil without Config.State
	outliving *outliving
	clock     jiffies.Clock
	broken    chan<- struct{} // gets one when the loop of a queue has ended by itself
	packets   *LogWriter      // takes what LOG targets log; nil for standard error
	options   nfqueue.Options // of the queues; no field is 0

	queues       map[uint16]*queue  // that are bound; guarded by Server.mu
	repairs      map[uint16]*repair // of queues that have broken; guarded by Server.mu
	log          *packetLog         // of set, nil if no rule logs; guarded by Server.mu
	lastCounters losses             // as they were when last looked at; guarded by Server.mu
	smallBuffer  bool               // checkBuffer has said so; guarded by Server.mu

	// deciding is held for reading while a batch of packets is decided. So no
	// batch is decided by old rules once a reload has held it.
	deciding sync.RWMutex
	set      *ruleset.Set // written with Server.mu and deciding held, read with either
}

// queue is a bound queue and the goroutine that runs its loop.
type queue struct {
	*nfqueue.Queue
	notes *ruleset.Notes // how far its packets are, for the next process; nil without Config.State
	done  chan struct{}  // closed when the loop has ended
	err   error          // why it ended by itself; set before done is closed
}

// explain says which network namespace an error is about.
func (i *instance) explain(err error) error { return explain(i.name, err) }

func explain(netns string, err error) error {
	if netns == "" {
		return err // there is only one
	}
	return fmt.Errorf("network namespace %s: %w", netns, err)
}

// exit takes the instance down: queues, rules, and with the rules the tables.
// Server.mu is held.
func (i *instance) exit() error {
	err := i.unbindAll()
	i.exchange(nil)
	return errors.Join(err, i.held.Close())
}

// exchange replaces the rules between two batches of packets and closes the
// old ones. Either may be nil. Server.mu is held.
func (i *instance) exchange(set *ruleset.Set) {
	i.deciding.Lock()
	old := i.set
	i.set = set
	i.deciding.Unlock()
	if i.log != nil {
		i.log.stop()
		i.log = nil
	}
	if set != nil && set.Logs() != nil {
		i.log = startPacketLog(set, i.name, i.packets)
	}
	if old != nil {
		old.Close()
	}
}

// bind starts the loop of a queue. Server.mu is held.
func (i *instance) bind(n uint16, opened *nfqueue.Queue) {
	q := &queue{Queue: opened, notes: notesOf(opened), done: make(chan struct{})}
	i.queues[n] = q
	go func() {
		if q.notes != nil {
			q.err = q.Finish(func(batch []capture.Packet) { i.decide(n, batch, q.resume) })
		}
		if q.err == nil {
			q.err = q.Run(func(batch []capture.Packet) { i.decide(n, batch, q.decide) })
		}
		close(q.done)
		if q.err != nil {
			select {
			case i.broken <- struct{}{}:
			default: // it is to look at all queues already
			}
		}
	}()
}

// unbind ends a queue's loop and closes the queue. Server.mu is held.
func (i *instance) unbind(n uint16) error {
	q := i.queues[n]
	delete(i.queues, n)
	if q.notes != nil {
		i.outliving.drop(queueName(i.name, n))
	}
	if err := q.Close(); err != nil {
		return err // the loop may still wait in the kernel, so do not wait for it
	}
	<-q.done
	return nil
}

// unbindAll unbinds all queues. Server.mu is held.
func (i *instance) unbindAll() error {
	var errs []error
	for n := range i.queues {
		errs = append(errs, i.unbind(n))
	}
	return errors.Join(errs...)
}

// decide gives each packet of a queue its verdict. A queue whose chain is gone,
// but which could not be unbound, drops its packets, as the kernel does if
// nobody listens.
func (i *instance) decide(n uint16, batch []capture.Packet, by func(*ruleset.Queue, []capture.Packet, jiffies.Jiffies)) {
	i.deciding.RLock()
	defer i.deciding.RUnlock()
	if i.set != nil {
		if q := i.set.Queue(n); q != nil {
			by(q, batch, i.clock.Now())
			return
		}
	}
	for k := range batch {
		batch[k].Verdict = capture.Drop
	}
}

// decide decides packets that have come.
func (q *queue) decide(by *ruleset.Queue, batch []capture.Packet, now jiffies.Jiffies) {
	if q.notes == nil {
		by.Decide(batch, now)
		return
	}
	by.DecideNoted(batch, now, q.notes)
}

// resume goes on with the packets that a process before has not decided to their end.
func (q *queue) resume(by *ruleset.Queue, batch []capture.Packet, now jiffies.Jiffies) {
	by.Resume(batch, now, q.notes)
}
