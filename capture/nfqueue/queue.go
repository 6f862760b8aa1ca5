// Package nfqueue takes packets from a netfilter queue and gives verdicts
// back: the user side of net/netfilter/nfnetlink_queue.c.
//
// go-nfqueue opens the socket; binding and the packet loop are here, since a
// loop that takes many messages per system call and answers them with one is
// several times as fast as one message at a time.
//
// An idle queue costs two descriptors and a goroutine, but neither a thread nor
// the memory of the loop: a process may have thousands.
package nfqueue

import (
	"fmt"
	"sync"
	"sync/atomic"

	nfq "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"

	"recentfs/capture"
)

const (
	// copyRange is how many bytes of a packet the kernel hands over: room for
	// the longest IPv4 header (60) with any transport header, and for 196
	// bytes of IPv6 extension headers before TCP's. Behind a longer chain the
	// packet has no protocol (capture.Header.NoProtocol).
	copyRange = 256
	// maxLength is how many packets may wait for a verdict; the kernel drops
	// what comes on top. Its own default is 1024.
	maxLength = 8192
	// receiveBuffer holds maxLength messages as the kernel counts them, at
	// some 1300 bytes each, so that the queue is full before the socket is.
	// The kernel doubles the figure.
	receiveBuffer = 8 << 20
)

// Config says which queue to serve.
type Config struct {
	Number uint16
}

// Queue is a bound netfilter queue. Its packets wait from Open on.
type Queue struct {
	number uint16
	fd     int   // closed under running
	list   *list // the kernel's, of queues

	closed  atomic.Bool
	running sync.Mutex    // held by Run, and by Close while it releases
	turns   atomic.Uint64 // of parking and waking: odd but while Run is parked
	*batch                // guarded by running; there while Run is awake

	decided, undecodable, malformed, refused, unsent, overruns atomic.Uint64
}

var _ capture.Source = (*Queue)(nil)

// Open binds a queue in the network namespace of the calling thread. Its errors
// say which queue, what is missing and what to do: no CAP_NET_ADMIN, no
// nfnetlink_queue in the kernel, or a queue that another program holds, by name
// where that can be told.
//
// Who calls it for a namespace that is not the process's has locked the
// goroutine to its thread.
func Open(c Config) (*Queue, error) {
	q, err := open(c)
	if err != nil {
		return nil, fmt.Errorf("queue %d: %w", c.Number, err)
	}
	return q, nil
}

func open(c Config) (*Queue, error) {
	sock, err := nfq.Open(&nfq.Config{NfQueue: c.Number})
	if err != nil {
		return nil, explainOpen(err)
	}
	defer sock.Con.Close()
	if err := mayBind(sock.Con, c.Number); err != nil {
		return nil, err
	}
	q := &Queue{number: c.Number, list: openList()}
	q.turns.Store(1)
	if q.fd, err = takeOver(sock.Con); err != nil {
		q.list.close()
		return nil, err
	}
	if err := q.setUp(); err != nil {
		q.list.close()
		unix.Close(q.fd)
		return nil, err
	}
	return q, nil
}

// setUp makes the queue. Packets come from its last step on.
func (q *Queue) setUp() error {
	if err := prepare(q.fd); err != nil {
		return err
	}
	return bind(q.fd, q.number, q.list)
}

// Close ends Run, gives the queue up and releases it; packets that still wait
// for a verdict are dropped by the kernel. It waits until Run is back, so it
// must not be called from within decide.
func (q *Queue) Close() error {
	if q.closed.Swap(true) {
		return nil
	}
	// The acknowledgement arrives on the socket and wakes Run, wherever it
	// waits. Where there is no room for it, Run has packets to read and does
	// not sleep.
	if !send(q.fd, appendUnbind(nil, q.number), unix.Write) {
		// Nothing wakes Run then; it may keep the queue until the process ends.
		return fmt.Errorf("queue %d: close: the kernel takes no message, for want of memory", q.number)
	}
	q.running.Lock()
	defer q.running.Unlock()
	q.list.close()
	if err := unix.Close(q.fd); err != nil {
		return fmt.Errorf("queue %d: close: %w", q.number, err)
	}
	return nil
}

// Stats counts what became of packets since Open.
type Stats struct {
	Packets     uint64 // handed to decide
	Undecodable uint64 // of these, without a network header that Decode takes
	Malformed   uint64 // messages that were not as the kernel forms them
	Refused     uint64 // verdicts that the kernel refused: the packet was gone
	Unsent      uint64 // packets whose verdict could not be sent
	Overruns    uint64 // times that the kernel reported a full socket (ENOBUFS)
	// Full and Lost are the kernel's counts of packets dropped because too
	// many waited, and because the socket was full; they wrap at 2^32. Waiting
	// is how many wait now. All three are 0 once the queue is closed.
	Full, Lost, Waiting uint32
}

// Stats may be called at any time by any goroutine. Of a queue that is idle it
// costs no system call.
func (q *Queue) Stats() Stats {
	s := Stats{
		Packets:     q.decided.Load(),
		Undecodable: q.undecodable.Load(),
		Malformed:   q.malformed.Load(),
		Refused:     q.refused.Load(),
		Unsent:      q.unsent.Load(),
		Overruns:    q.overruns.Load(),
	}
	if !q.closed.Load() {
		k := q.list.state(q.number, q.turns.Load())
		s.Full, s.Lost, s.Waiting = k.full, k.lost, k.waiting
	}
	return s
}

// Number is the queue's number.
func (q *Queue) Number() uint16 { return q.number }
