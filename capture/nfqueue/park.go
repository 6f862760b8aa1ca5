package nfqueue

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// linger is how long an empty queue keeps its thread, asleep in the kernel,
	// where the next packet finds it sooner than in Go's poller.
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

// park waits in Go's poller until there is something to receive.
//
// The poller has a descriptor of its own, for as long as that takes: it would
// otherwise wake a thread for each message besides the one that lingers.
func (q *Queue) park() error {
	q.turns.Add(1)
	defer q.turns.Add(1)
	fd, err := unix.FcntlInt(uintptr(q.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("dup: %w", err)
	}
	// NewFile gives to the poller what does not block. Both descriptors share
	// that, and nobody receives meanwhile.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	defer unix.SetNonblock(q.fd, false)
	f := os.NewFile(uintptr(fd), "nfqueue")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(readable)
}

// readable tells whether there is a message or an error to receive.
func readable(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], 0)
	return n != 0 || err != nil
}
