package nfqueue

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// linger is how long the loop of an empty queue waits in recvmmsg before it
	// parks. The next packet wakes it faster there than through the poller.
	linger = 100 * time.Millisecond
	// maxLingering bounds the threads that wait so: Go's runtime never ends a
	// thread, and it ends the process at 10000 threads. The loops of more queues
	// park as soon as their queue is empty.
	maxLingering = 64
)

var (
	lingering atomic.Int32 // loops of this process that are awake
	batches   = sync.Pool{New: func() any { return new(batch) }}
	inboxes   = sync.Pool{New: func() any { return newInbox() }}
)

// wake gives the loop its memory and returns the flags with which it receives.
func (q *Queue) wake() (flags int) {
	q.batch = batches.Get().(*batch)
	if q.kept != nil {
		q.inbox = &q.kept.inbox
	} else {
		q.inbox = inboxes.Get().(*inbox)
	}
	q.devices.begin(q.fd)
	if lingering.Add(1) > maxLingering {
		return unix.MSG_DONTWAIT
	}
	return unix.MSG_WAITFORONE
}

// sleep takes the memory back.
func (q *Queue) sleep() {
	lingering.Add(-1)
	batches.Put(q.batch)
	if q.kept == nil {
		inboxes.Put(q.inbox)
	}
	q.batch, q.inbox = nil, nil
}

// park waits until the queue has something to receive.
//
// The poller has the descriptor only for so long. Otherwise each message would wake
// the poller's thread too, beside the thread that waits in recvmmsg.
func (q *Queue) park() error {
	if err := parking.start(); err != nil {
		return err
	}
	q.turns.Add(1)
	defer q.turns.Add(1)
	return parking.wait(q.fd)
}

// poller is one thread that waits for the descriptors of all parked queues.
//
// Go's own poller is too slow for the first packets after a pause: while the
// threads of all of Go's processors are in system calls, no thread waits in it, and
// Go looks at it every 10 ms only.
type poller struct {
	once sync.Once
	err  error // the error of start
	fd   int

	mu     sync.Mutex
	parked map[int32]chan struct{} // guarded by mu; by descriptor
}

var parking = poller{parked: make(map[int32]chan struct{})}

// start starts the poller's thread, once in the process.
func (p *poller) start() error {
	p.once.Do(func() {
		if p.fd, p.err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); p.err == nil {
			go p.run()
		}
	})
	return p.err
}

// run wakes parked queues. It never returns.
func (p *poller) run() {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(p.fd, events[:], -1)
		if err != nil {
			continue // EINTR
		}
		p.mu.Lock()
		for _, e := range events[:n] {
			close(p.parked[e.Fd])
		}
		p.mu.Unlock()
		runtime.Gosched() // let the woken loops run on this processor
	}
}

// wait returns when a descriptor is readable. With EPOLLONESHOT run gets only one
// event for it, and so closes the channel once.
func (p *poller) wait(fd int) error {
	ready := make(chan struct{})
	p.mu.Lock()
	p.parked[int32(fd)] = ready
	p.mu.Unlock()
	err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)})
	if err == nil {
		<-ready
		err = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
	}
	p.mu.Lock()
	delete(p.parked, int32(fd))
	p.mu.Unlock()
	return err
}
