package nfqueue

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// linger is how long an empty queue keeps its thread, asleep in the kernel,
	// where the next packet finds it sooner than in the poller.
	linger = 100 * time.Millisecond
	// maxLingering bounds the threads that sleep so: Go's runtime never ends a
	// thread, and ends the process when it has 10000. Queues beyond go to the
	// poller whenever they are empty.
	maxLingering = 64
)

var (
	lingering atomic.Int32 // loops that are awake, in the process
	batches   = sync.Pool{New: func() any { return newBatch() }}
)

// wake gives the loop what it has while awake, and tells how it receives.
func (q *Queue) wake() (flags int) {
	q.batch = batches.Get().(*batch)
	q.names.begin(q.fd)
	if lingering.Add(1) > maxLingering {
		return unix.MSG_DONTWAIT
	}
	return unix.MSG_WAITFORONE
}

func (q *Queue) sleep() {
	lingering.Add(-1)
	batches.Put(q.batch)
	q.batch = nil
}

// park waits until there is something to receive.
//
// The descriptor is in the poller for only that long, since the poller's thread
// would otherwise be woken for each message besides the one that lingers.
func (q *Queue) park() error {
	if err := parking.start(); err != nil {
		return err
	}
	q.turns.Add(1)
	defer q.turns.Add(1)
	return parking.wait(q.fd)
}

// poller waits for the descriptors of all parked queues on one thread.
//
// Go's own poller would do, but for the first packets after a pause: while the
// threads of all processors that Go has are in system calls nobody waits
// there, and Go looks at it every 10 ms.
type poller struct {
	once sync.Once
	err  error // of start
	fd   int

	mu     sync.Mutex
	parked map[int32]chan struct{} // guarded by mu: by descriptor
}

var parking = poller{parked: make(map[int32]chan struct{})}

func (p *poller) start() error {
	p.once.Do(func() {
		if p.fd, p.err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); p.err == nil {
			go p.run()
		}
	})
	return p.err
}

// run wakes queues. It lasts as long as the process.
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
		runtime.Gosched() // this processor is theirs now
	}
}

// wait returns when a descriptor can be read. EPOLLONESHOT has run hear of it
// once.
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
