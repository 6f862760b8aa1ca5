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
	batchSize = capture.BatchSize
	// messageSize is enough for copyRange bytes of a packet and for all attributes
	// that the kernel adds.
	messageSize = 1024
	// floodSize is how many packets in one batch count as a flood.
	floodSize = 16
	// gathering is how long the loop lets a flood's packets gather. Linux adds the
	// thread's timer slack of 50 us.
	gathering = 30 * time.Microsecond
)

// batch is the memory of one round of the packet loop, but for what is received.
type batch struct {
	devices deviceNames
	packets [batchSize]capture.Packet
	answers [batchSize * verdictLen]byte
}

// Run passes packets to decide until Close, and then returns nil. A batch is the
// packets that were waiting, 64 at most. When decide returns, Run gives the kernel
// each packet's Verdict, and its Mark if Marked is true. Run returns errors of the socket itself only: no packet and no full buffer
// ends it.
func (q *Queue) Run(decide func([]capture.Packet)) error {
	q.running.Lock()
	defer q.running.Unlock()
	for !q.closed.Load() {
		if err := q.park(); err != nil {
			// No memory to park: wait in work, as far as that waits.
			time.Sleep(time.Millisecond)
		}
		if err := q.work(decide); err != nil {
			return fmt.Errorf("queue %d: receive: %w", q.number, err)
		}
	}
	return nil
}

// work decides packets until none has come for a while.
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
		q.rounds.Add(1)
		if n := q.parse(got); n > 0 {
			decide(q.packets[:n])
			q.decided.Add(uint64(n))
			if floodSize <= got && got < batchSize {
				gather()
			}
			q.answer(q.encode(n), n)
		}
		if q.kept != nil {
			q.clear(got)
		}
		q.rounds.Add(1)
	}
	return nil
}

// answer sends the verdicts of n packets.
func (q *Queue) answer(verdicts []byte, n int) {
	if !send(q.fd, verdicts, writeVerdicts) {
		q.unsent.Add(uint64(n))
	}
}

// gather lets the packets of a flood gather, as long as the loop is faster than the
// flood. Otherwise the loop would receive two packets at a time and spend most of
// its time on the two system calls for them. When the flood is faster, batches are
// full.
//
// The verdicts wait too, so that the kernel's queue does not become empty each
// time: its hash table would shrink and grow with it (rhashtable), which slows the
// processor that receives.
func gather() {
	length := unix.NsecToTimespec(int64(gathering))
	_ = unix.Nanosleep(&length, nil) // a signal may end it early
}

// receive receives the messages that have arrived. With MSG_WAITFORONE it waits for
// the first one, up to SO_RCVTIMEO.
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

// parse turns the first got messages into packets and returns how many they are.
func (q *Queue) parse(got int) int {
	q.devices.refresh()
	n, undecodable := 0, uint64(0)
	for i := range got {
		p := &q.packets[n]
		m, k := parse(q.message(i), p)
		switch k {
		case kindMalformed, kindTruncated:
			q.malformed.Add(1)
		case kindRefused:
			q.refused.Add(1)
		}
		if k != kindPacket && k != kindTruncated {
			continue
		}
		p.In, p.Out = q.devices.name(m.in), q.devices.name(m.out)
		if !p.Decode(p.Data) {
			undecodable++
		}
		p.Socket = hasSocket(p, &m)
		n++
	}
	if undecodable > 0 {
		q.undecodable.Add(undecodable)
	}
	return n
}

// encode forms the verdict messages of the first n packets.
func (q *Queue) encode(n int) []byte {
	b := q.answers[:0]
	for i := 0; i < n; i++ {
		// A run of packets with the same verdict needs one message: it holds for all
		// waiting packets with an ID up to the one in it, and IDs ascend.
		typ := uint16(msgVerdict)
		for i+1 < n && sameAnswer(&q.packets[i], &q.packets[i+1]) {
			typ = msgVerdictBatch
			i++
		}
		b = appendVerdict(b, typ, &q.packets[i])
	}
	return b
}

// sameAnswer reports whether two packets can share a message. Packets with a new mark
// could too, but they are rare.
func sameAnswer(a, b *capture.Packet) bool {
	return a.Verdict == b.Verdict && !a.Marked && !b.Marked
}

// sendTries is how often send tries while memory is short, every millisecond.
const sendTries = 100

// send writes messages to the kernel. The kernel takes all of them or none, and
// carries them out before write returns. send reports whether it took them.
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

// writeVerdicts is unix.Write, but does not tell Go's scheduler of the system call:
// that would wake other threads for a processor that is not idle. The kernel carries
// verdicts out without sleeping (NFNL_CB_RCU), except when it waits for memory. The
// garbage collector has to wait for this call.
func writeVerdicts(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
