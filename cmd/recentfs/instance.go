package main

import (
	"errors"
	"fmt"
	"sync"

	"github.com/sirupsen/logrus"

	"recentfs/capture"
	"recentfs/capture/nfqueue"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/namespaces"
)

// instance is what recentfs is in one network namespace: the tables, the rules
// and the queues that they decide. It is the kernel's struct recent_net, with
// recent_net_init and recent_net_exit.
type instance struct {
	name  string                // of the folder; empty where there is but this one
	ns    *namespaces.Namespace // nil for the process's own
	rules string                // the file that the rules come from
	reg   *recent.Registry
	clock jiffies.Clock
	ended chan<- error // why a queue's loop ended by itself

	queues map[uint16]*queue // guarded by server.mu
	logger *packetLogger     // of set; guarded by server.mu
	seen   troubles          // that were logged; guarded by server.mu

	// deciding is held for reading while a batch of packets is decided, so
	// that nobody decides by old rules once a reload has the lock.
	deciding sync.RWMutex
	set      *ruleset.Set // written with server.mu and deciding, read with either
}

// queue is a bound queue and the goroutine that runs its loop.
type queue struct {
	*nfqueue.Queue
	done chan struct{} // closed when the loop has ended
}

// change is new rules for an instance, ready to be put to work: all that can
// fail has been done.
type change struct {
	*instance
	set   *ruleset.Set
	fresh map[uint16]*nfqueue.Queue
	keep  map[uint16]bool
}

// prepare gets rules ready. server.mu is held, until commit or cancel.
func (i *instance) prepare(file *ruleset.File) (_ *change, err error) {
	c := &change{instance: i, fresh: make(map[uint16]*nfqueue.Queue), keep: make(map[uint16]bool)}
	defer func() {
		if err != nil {
			err = errors.Join(i.explain(err), c.cancel())
		}
	}()
	var missing []uint16
	for _, n := range file.Queues() {
		c.keep[n] = true
		if i.queues[n] == nil {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		if err := i.do(func() error { return c.open(missing) }); err != nil {
			return nil, err
		}
	}
	c.set, err = file.Load(i.reg)
	return c, err
}

// do calls f in the instance's namespace.
func (i *instance) do(f func() error) error {
	if i.ns == nil {
		return f()
	}
	return i.ns.Do(f)
}

// explain says whose error it is.
func (i *instance) explain(err error) error {
	if i.name == "" {
		return err
	}
	return fmt.Errorf("network namespace %s: %w", i.name, err)
}

func (c *change) open(queues []uint16) error {
	for _, n := range queues {
		q, err := nfqueue.Open(n)
		if err != nil {
			return err
		}
		c.fresh[n] = q
	}
	return nil
}

// cancel takes back what prepare did.
func (c *change) cancel() error {
	var errs []error
	for _, q := range c.fresh {
		errs = append(errs, q.Close())
	}
	if c.set != nil {
		c.set.Close()
	}
	return errors.Join(errs...)
}

// commit puts the rules in the place of those at work. A table that old and new
// rules share keeps its entries, since the new rules refer to it already.
// server.mu is held.
func (c *change) commit() {
	for n := range c.queues {
		if c.keep[n] {
			continue
		}
		if err := c.unbind(n); err != nil {
			logrus.Warn(c.explain(err))
		}
	}
	c.exchange(c.set)
	for n, q := range c.fresh {
		c.bind(n, q)
	}
}

// exit takes the instance down: queues, rules, and with them the tables.
// server.mu is held.
func (i *instance) exit() error {
	err := i.unbindAll()
	i.exchange(nil)
	if i.ns != nil {
		err = errors.Join(err, i.ns.Close())
	}
	return err
}

// unbindAll gives up the queues. server.mu is held.
func (i *instance) unbindAll() error {
	var errs []error
	for n := range i.queues {
		errs = append(errs, i.unbind(n))
	}
	return errors.Join(errs...)
}

// exchange replaces the rules between two batches of packets and closes the
// old ones. Either may be nil. server.mu is held.
func (i *instance) exchange(set *ruleset.Set) {
	i.deciding.Lock()
	old := i.set
	i.set = set
	i.deciding.Unlock()
	if i.logger != nil {
		i.logger.stop()
		i.logger = nil
	}
	if set != nil && set.Logs() != nil {
		i.logger = logPackets(set, i.name)
	}
	if old != nil {
		old.Close()
	}
}

// bind starts the loop of a queue. server.mu is held.
func (i *instance) bind(n uint16, nq *nfqueue.Queue) {
	q := &queue{nq, make(chan struct{})}
	i.queues[n] = q
	go func() {
		defer close(q.done)
		if err := q.Run(func(batch []capture.Packet) { i.decide(n, batch) }); err != nil {
			select {
			case i.ended <- i.explain(err):
			default: // one reason to end is enough
			}
		}
	}()
}

// unbind ends a queue's loop and gives it up. server.mu is held.
func (i *instance) unbind(n uint16) error {
	q := i.queues[n]
	delete(i.queues, n)
	if err := q.Close(); err != nil {
		return err // and the loop may still be in the kernel
	}
	<-q.done
	return nil
}

// decide gives each packet of a queue its verdict. A queue that could not be
// given up when its chain went drops its packets, as the kernel does where
// nobody listens.
func (i *instance) decide(n uint16, batch []capture.Packet) {
	i.deciding.RLock()
	defer i.deciding.RUnlock()
	if i.set != nil {
		if q := i.set.Queue(n); q != nil {
			q.Decide(batch, i.clock.Now())
			return
		}
	}
	for k := range batch {
		batch[k].Verdict = capture.Drop
	}
}
