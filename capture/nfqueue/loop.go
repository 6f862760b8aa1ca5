package nfqueue

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

const (
	// batchSize is how many packets one recvmmsg takes at most.
	batchSize = 64
	// messageSize holds copyRange bytes of a packet and all the attributes
	// that the kernel adds to them.
	messageSize = 1024
	// floodSize is how many packets in one batch are taken for a flood.
	floodSize = 16
	// gathering is how long a flood's packets gather. Linux adds the thread's
	// timer slack, 50 us.
	gathering = 30 * time.Microsecond
)

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// batch is the memory of one round of the packet loop.
type batch struct {
	names   names
	heads   [batchSize]mmsghdr
	iovecs  [batchSize]unix.Iovec
	buffers [batchSize][messageSize]byte
	packets [batchSize]capture.Packet
	ids     [batchSize]uint32
	answers [batchSize * verdictLen]byte
}

func newBatch() *batch {
	b := new(batch)
	for i := range b.heads {
		b.iovecs[i].Base = &b.buffers[i][0]
		b.iovecs[i].SetLen(messageSize)
		b.heads[i].hdr.Iov = &b.iovecs[i]
		b.heads[i].hdr.SetIovlen(1)
	}
	return b
}

// message is the i-th message that recvmmsg left.
func (b *batch) message(i int) []byte {
	return b.buffers[i][:min(b.heads[i].len, messageSize)]
}

// Run implements capture.Source. A packet is one batch with all others that
// were waiting with it, 64 at most. Its errors end the queue: what the socket
// itself refuses, never what a packet or a full buffer does.
func (q *Queue) Run(decide func([]capture.Packet)) error {
	q.running.Lock()
	defer q.running.Unlock()
	for !q.closed.Load() {
		if err := q.park(); err != nil {
			// No memory to park with: the thread waits, as far as work does.
			time.Sleep(time.Millisecond)
		}
		if err := q.work(decide); err != nil {
			return fmt.Errorf("queue %d: receive: %w", q.number, err)
		}
	}
	return nil
}

// work decides packets until none comes any more for a while.
func (q *Queue) work(decide func([]capture.Packet)) error {
	flags := q.wake()
	defer q.sleep()
	for !q.closed.Load() {
		got, err := receive(q.fd, q.heads[:], flags)
		switch err {
		case nil:
		case unix.EAGAIN:
			return nil
		case unix.ENOBUFS:
			q.overruns.Add(1)
			continue
		default:
			return err
		}
		n := q.parse(got)
		if n == 0 {
			continue
		}
		decide(q.packets[:n])
		q.decided.Add(uint64(n))
		if floodSize <= got && got < batchSize {
			gather()
		}
		if !send(q.fd, q.encode(n), writeVerdicts) {
			q.unsent.Add(uint64(n))
		}
	}
	return nil
}

// gather lets the packets of a flood, or of a burst, gather while the loop keeps
// up with it. Else it would take them in twos, and spend most of its time on the
// two system calls that these cost. Where it does not keep up, batches are full.
//
// The verdicts wait too, so that the kernel's queue is not emptied each time:
// its hash table would shrink and grow with it (rhashtable), which slows down
// the processor that receives.
func gather() {
	length := unix.NsecToTimespec(int64(gathering))
	_ = unix.Nanosleep(&length, nil) // a signal may end it early
}

// receive takes the messages that are there. As flags say, it waits for the
// first.
func receive(fd int, heads []mmsghdr, flags int) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&heads[0])), uintptr(len(heads)), uintptr(flags), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// parse turns the messages received into packets and returns their number.
func (q *Queue) parse(got int) int {
	q.names.refresh()
	n, undecodable := 0, uint64(0)
	for i := range got {
		p := &q.packets[n]
		o, k := parse(q.message(i), p)
		switch k {
		case kindMalformed, kindDamaged:
			q.malformed.Add(1)
		case kindRefused:
			q.refused.Add(1)
		}
		if k != kindPacket && k != kindDamaged {
			continue
		}
		p.In, p.Out = q.names.name(o.in), q.names.name(o.out)
		if !p.Decode(p.Data) {
			undecodable++
		}
		p.Socket = hasSocket(p, &o)
		q.ids[n] = o.id
		n++
	}
	if undecodable > 0 {
		q.undecodable.Add(undecodable)
	}
	return n
}

// encode forms the verdicts of the first n packets.
func (q *Queue) encode(n int) []byte {
	b := q.answers[:0]
	for i := 0; i < n; i++ {
		// One message for a run of packets with the same verdict: it is for all
		// that wait with an id up to the one that it names, and ids ascend.
		typ := uint16(msgVerdict)
		for i+1 < n && sameAnswer(&q.packets[i], &q.packets[i+1]) {
			typ = msgVerdictBatch
			i++
		}
		b = appendVerdict(b, typ, q.ids[i], &q.packets[i])
	}
	return b
}

// sameAnswer tells whether two packets can share a message. One could set the
// mark of all, but marks are rare.
func sameAnswer(a, b *capture.Packet) bool {
	return a.Verdict == b.Verdict && !a.Marked && !b.Marked
}

// sendTries is how often send tries again while memory is short, 1 ms apart.
const sendTries = 100

// send writes messages to the kernel, which takes all or none, and carries
// them out before write returns.
func send(fd int, b []byte, write func(fd int, b []byte) (int, error)) bool {
	for range sendTries {
		switch _, err := write(fd, b); err {
		case nil:
			return true
		case unix.EINTR:
		case unix.ENOBUFS, unix.EAGAIN, unix.ENOMEM:
			time.Sleep(time.Millisecond)
		default:
			return false
		}
	}
	return false
}

// writeVerdicts is unix.Write without a word to Go's scheduler, which would
// wake threads to use the processor meanwhile. It is in use: unlike other
// messages, the kernel carries verdicts out without a sleep (NFNL_CB_RCU),
// except to find memory for the message. The garbage collector waits for it.
func writeVerdicts(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
