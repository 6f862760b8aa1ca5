// Package nfqueue takes packets from a netfilter queue and gives verdicts
// back: the user side of net/netfilter/nfnetlink_queue.c.
//
// go-nfqueue opens the socket. This package binds the queue and runs a packet loop
// of its own, which receives many messages with one system call and answers them
// with one: that is several times as fast as one message at a time.
//
// An idle queue costs two descriptors and a goroutine, but no thread and no memory
// for a batch. A process may have thousands of queues.
//
// A queue may outlive its process (OpenKept, Adopt), if somebody else holds its
// descriptors: packets wait in it while nobody serves it. The kernel shows a packet
// once. So the memory that recvmmsg fills is a file in memory then, a third descriptor.
// What a killed process had received is there for the next one, and so is what those
// who decide have noted. recvmmsg has stored a message and its length, or the message
// is still in the socket: a kill does not come in between.
package nfqueue

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// copyRange is how many bytes of a packet the kernel copies: enough for the
// longest IPv4 header (60) and any transport header, or for 196 bytes of IPv6
// extension headers and a TCP header. After more extension headers the packet
// has no protocol (capture.Header.NoProtocol).
const copyRange = 256

// Queue is a bound netfilter queue. From Open on the kernel keeps packets for it.
type Queue struct {
	number  uint16
	options Options
	fd      int // closed under running
	queues  *procQueues

	// rounds is odd while the loop is at a batch, from its receipt to the verdicts.
	rounds  atomic.Uint64
	looking sync.Mutex // held while AtWork uses fd, and while it is closed
	closed  atomic.Bool
	running sync.Mutex    // held by Run, and by Close while it releases the queue
	turns   atomic.Uint64 // counts parking and waking: even while Run is parked
	*batch                // guarded by running; nil while Run is parked
	*inbox                // guarded by running; nil while Run is parked
	kept    *kept         // what outlives the process; nil for a queue that does not

	decided, undecodable, malformed, refused, unsent, overruns atomic.Uint64
}

// Open binds a queue in the socket's network namespace. Its errors say which queue, what
// is wrong and what to do: CAP_NET_ADMIN or the kernel's nfnetlink_queue is missing, or
// another program holds the queue. The queue has the socket, and after an error nobody.
func (s Socket) Open(number uint16, options Options) (*Queue, error) {
	q := s.queue(number, options)
	if err := q.setUp(); err != nil {
		s.Close()
		return nil, explain(number, err)
	}
	return q, nil
}

func (s Socket) queue(number uint16, options Options) *Queue {
	q := &Queue{number: number, options: options.OrDefaults(), fd: s.fd, queues: s.queues}
	q.turns.Store(1)
	return q
}

func explain(number uint16, err error) error { return fmt.Errorf("queue %d: %w", number, err) }

// setUp prepares the socket and then makes the queue, so that packets find it ready.
func (q *Queue) setUp() error {
	if err := checkBind(q.fd, q.number); err != nil {
		return err
	}
	if err := setOptions(q.fd, q.options.Buffer); err != nil {
		return err
	}
	if err := bind(q.fd, q.number, q.options, q.queues); err != nil {
		return err
	}
	q.queues.watch(q.fd)
	return nil
}

// Close ends Run and releases the queue, also one whose socket is broken, upon which
// Run has ended. The kernel drops the packets that still wait for a verdict. Close
// waits until Run returns, so decide must not call it.
func (q *Queue) Close() error { return q.end(cmdUnbind) }

// end ends Run by a command, and releases what this process has.
func (q *Queue) end(cmd byte) error {
	if q.closed.Swap(true) {
		return nil
	}
	// The acknowledgement arrives on the socket and wakes Run, wherever it waits.
	// If the socket has no room for it, Run has packets to read and does not wait.
	sent := send(q.fd, appendCommand(nil, q.number, cmd), unix.Write)
	if !q.running.TryLock() {
		if !sent {
			// Nothing wakes Run, which may keep the queue until the process ends.
			return fmt.Errorf("queue %d: close: the kernel has no memory for the message: free some memory and restart", q.number)
		}
		q.running.Lock()
	}
	defer q.running.Unlock()
	q.queues.close()
	if q.kept != nil {
		q.kept.release()
	}
	q.looking.Lock()
	defer q.looking.Unlock()
	if err := unix.Close(q.fd); err != nil {
		return fmt.Errorf("queue %d: close: %w", q.number, err)
	}
	return nil
}

// Stats counts packets and messages since Open.
type Stats struct {
	Packets     uint64 // handed to decide
	Undecodable uint64 // of these, how many Decode refused
	Malformed   uint64 // messages not formed as the kernel forms them
	Refused     uint64 // verdicts that the kernel refused, because the packet was gone
	Unsent      uint64 // packets whose verdict could not be sent
	Overruns    uint64 // reports of a full socket (ENOBUFS)
	// Full and Lost are the kernel's counts of packets that it dropped because too
	// many were waiting, and because the socket was full. Passed are packets that it
	// accepted because the socket was full, as Options.Accept says; an acknowledgement
	// that found no room counts too. It does not count the packets that it accepts
	// because too many are waiting. All wrap at 2^32. Waiting is how many packets wait
	// now. All four are 0 after Close.
	Full, Lost, Passed, Waiting uint32
}

// Stats may be called at any time by any goroutine. For an idle queue it makes no
// system call.
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
		k := q.queues.state(q.number, q.turns.Load())
		s.Full, s.Lost, s.Passed, s.Waiting = k.full, k.lost, k.passed, k.waiting
	}
	return s
}
