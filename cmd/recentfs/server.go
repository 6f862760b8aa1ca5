package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"github.com/sirupsen/logrus"

	"recentfs/capture"
	"recentfs/capture/nfqueue"
	"recentfs/fs"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

// server is a running recentfs: the tables, the mount that shows them, the
// rules, the queues that they decide, and the control socket.
//
// Lock order: reloading, mu, deciding.
type server struct {
	config  *config
	clock   jiffies.Clock
	reg     *recent.Registry
	mount   *fs.Mountpoint
	control *control
	ended   chan error // why a queue's loop ended by itself
	procs   int        // GOMAXPROCS without queues

	// reloading serialises reloads from the reading of the file on, so that
	// the last one to begin is the one that stays.
	reloading sync.Mutex

	mu      sync.Mutex
	queues  map[uint16]*queue // guarded by mu
	stopped bool              // guarded by mu

	// deciding is held for reading while a batch of packets is decided, so
	// that nobody decides by old rules once a reload has the lock.
	deciding sync.RWMutex
	rules    *ruleset.Set // written with mu and deciding, read with either

	logger *packetLogger // of rules; guarded by mu
}

// queue is a bound queue and the goroutine that runs its loop.
type queue struct {
	*nfqueue.Queue
	done chan struct{} // closed when the loop has ended
}

// A queue's loop sleeps in the kernel most of the time. When it comes back with
// packets it finds a place to run without waiting for readers of tables to give
// one up, which they do after 10 ms at the latest: each queue adds one to
// GOMAXPROCS, up to this many.
const maxExtraProcs = 16

// startServer brings everything up, or takes back what it did.
func startServer(c *config, clock jiffies.Clock, rules *ruleset.File) (s *server, err error) {
	s = &server{
		config: c, clock: clock, procs: runtime.GOMAXPROCS(0),
		ended: make(chan error, 1), queues: make(map[uint16]*queue),
	}
	defer func() {
		if err != nil {
			// What could not start says why; what then cannot stop is noise.
			_ = s.stop()
			s = nil
		}
	}()
	if s.reg, err = recent.NewRegistry(c.params, clock); err != nil {
		return s, err
	}
	// The socket comes first: it tells whether another instance is running.
	if s.control, err = listenControl(c.control); err != nil {
		return s, err
	}
	if s.mount, err = fs.Mount(c.mountpoint, s.reg); err != nil {
		return s, err
	}
	if err = s.swap(rules); err != nil {
		return s, err
	}
	go s.control.serve(s)
	return s, nil
}

// serve waits for the signal to end, or for what must not end before.
func (s *server) serve(signals <-chan os.Signal) error {
	watch := newWatch(s)
	defer watch.stop()
	unmounted := make(chan struct{})
	go func() {
		s.mount.Wait()
		close(unmounted)
	}()
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				logrus.Infof("%v: stopping", sig)
				return nil
			}
			if err := s.reload(); err != nil {
				logrus.Errorf("reload: %v; the rules stay as they were", err)
			}
		case err := <-s.ended:
			return err
		case <-unmounted:
			return fmt.Errorf("%s was unmounted by somebody else: stop recentfs by SIGTERM instead", s.config.mountpoint)
		}
	}
}

// stop takes down what is up: queues, mount, control socket, tables.
func (s *server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	var errs []error
	for n := range s.queues {
		errs = append(errs, s.unbind(n))
	}
	if s.mount != nil {
		err := s.mount.Unmount()
		if errors.Is(err, syscall.EBUSY) {
			logrus.Warn(err) // detached all the same, which is an end
			err = nil
		}
		errs = append(errs, err)
	}
	if s.control != nil {
		errs = append(errs, s.control.close())
	}
	s.exchange(nil)
	return errors.Join(errs...)
}

// reload reads the rules' file again. An error changes nothing.
func (s *server) reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	rules, err := readRules(s.config.rules, s.config.params)
	if err != nil {
		return err
	}
	if err := s.swap(rules); err != nil {
		return err
	}
	logrus.Infof("the rules were reloaded, for %s", queueNames(rules.Queues()))
	return nil
}

// swap puts rules in the place of those at work: first everything that can
// fail, then the exchange. A table that old and new rules share keeps its
// entries, since the new rules refer to it before the old ones let go.
func (s *server) swap(file *ruleset.File) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("recentfs is stopping")
	}
	fresh := make(map[uint16]*nfqueue.Queue)
	defer func() {
		if err != nil {
			for _, q := range fresh {
				err = errors.Join(err, q.Close())
			}
		}
	}()
	keep := make(map[uint16]bool)
	for _, n := range file.Queues() {
		keep[n] = true
		if s.queues[n] != nil {
			continue
		}
		if fresh[n], err = nfqueue.Open(nfqueue.Config{Number: n}); err != nil {
			delete(fresh, n)
			return err
		}
	}
	rules, err := file.Load(s.reg)
	if err != nil {
		return err
	}
	for n := range s.queues {
		if keep[n] {
			continue
		}
		if err := s.unbind(n); err != nil {
			logrus.Warn(err)
		}
	}
	s.exchange(rules)
	for n, q := range fresh {
		s.bind(n, q)
	}
	runtime.GOMAXPROCS(s.procs + min(len(s.queues), maxExtraProcs))
	return nil
}

// exchange replaces the rules between two batches of packets and closes the
// old ones. Either may be nil. s.mu is held.
func (s *server) exchange(rules *ruleset.Set) {
	s.deciding.Lock()
	old := s.rules
	s.rules = rules
	s.deciding.Unlock()
	if s.logger != nil {
		s.logger.stop()
		s.logger = nil
	}
	if rules != nil {
		s.logger = logPackets(rules)
	}
	if old != nil {
		old.Close()
	}
}

// bind starts the loop of a queue. s.mu is held.
func (s *server) bind(n uint16, nq *nfqueue.Queue) {
	q := &queue{nq, make(chan struct{})}
	s.queues[n] = q
	go func() {
		defer close(q.done)
		if err := q.Run(func(batch []capture.Packet) { s.decide(n, batch) }); err != nil {
			select {
			case s.ended <- err:
			default: // one reason to end is enough
			}
		}
	}()
}

// unbind ends a queue's loop and gives it up. s.mu is held.
func (s *server) unbind(n uint16) error {
	q := s.queues[n]
	delete(s.queues, n)
	if err := q.Close(); err != nil {
		return err // and the loop may still be in the kernel
	}
	<-q.done
	return nil
}

// decide gives each packet of a queue its verdict. A queue that could not be
// given up when its chain went drops its packets, as the kernel does where
// nobody listens.
func (s *server) decide(n uint16, batch []capture.Packet) {
	s.deciding.RLock()
	defer s.deciding.RUnlock()
	if s.rules != nil {
		if q := s.rules.Queue(n); q != nil {
			q.Decide(batch, s.clock.Now())
			return
		}
	}
	for i := range batch {
		batch[i].Verdict = capture.Drop
	}
}

// current calls do with the rules at work, which stay while it runs.
func (s *server) current(do func(*ruleset.Set)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rules := s.rules; rules != nil {
		do(rules)
	}
}

// queueNames lists queues for a log line.
func queueNames(numbers []uint16) string {
	if len(numbers) == 1 {
		return fmt.Sprintf("queue %d", numbers[0])
	}
	return fmt.Sprintf("%d queues", len(numbers))
}
