package nfqueue

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// Left is what Adopt found of the process before.
type Left struct {
	// Received are packets that it had received, and that have had no verdict yet, or
	// whose verdict nobody knows to be sent.
	Received int
	// Unusable says why its memory is of no use. It is nil if it is. Then the kernel
	// sends all packets that wait through the hook again: they are Repeated, about as
	// many. Some of them may have been decided once.
	Unusable error
	Repeated uint32
}

// Adopt goes on with a queue that another process has left: by Leave, or since it was
// killed. It needs the Files of that process. The Socket says in
// which network namespace. It has the descriptors if there is no error. If the memory is
// Unusable, it is closed and the queue has another one.
//
// The caller calls Finish, then Run.
func (s Socket) Adopt(number uint16, options Options, socket, memory int, notes Notes) (*Queue, Left, error) {
	q := s.queue(number, options)
	q.fd = socket
	left, err := q.adopt(s.fd, memory, notes)
	if err != nil {
		s.Close()
		return nil, Left{}, explain(number, fmt.Errorf("the socket that was left: %w", err))
	}
	_ = unix.Close(s.fd) // it is ours
	return q, left, nil
}

func (q *Queue) adopt(here, memory int, notes Notes) (left Left, err error) {
	if err := checkSocket(q.fd, here); err != nil {
		return left, err
	}
	waits, err := q.bound()
	if err != nil {
		return left, err
	}
	unix.CloseOnExec(q.fd)
	if err := unix.SetNonblock(q.fd, false); err != nil {
		return left, fmt.Errorf("make it block: %w", err)
	}
	if err := setOptions(q.fd, q.options.Buffer); err != nil {
		return left, err
	}
	if err := q.configure(); err != nil {
		return left, err
	}
	q.queues.watch(q.fd)
	if q.kept, left.Unusable = findKept(memory, notes); left.Unusable == nil {
		left.Received = q.kept.received()
		return left, nil
	}
	if q.kept, err = makeKept(notes); err != nil {
		return left, err
	}
	if err := q.repeat(waits.last); err != nil {
		q.kept.release()
		return left, err
	}
	left.Repeated = waits.waiting
	unix.Close(memory)
	return left, nil
}

// checkSocket finds out whether a descriptor is a socket of netfilter in the network
// namespace of another socket.
func checkSocket(fd, here int) error {
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return fmt.Errorf("getsockopt(SO_PROTOCOL): %w", err)
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("getsockopt(SO_DOMAIN): %w", err)
	}
	if domain != unix.AF_NETLINK || protocol != unix.NETLINK_NETFILTER {
		return fmt.Errorf("it is a socket of family %d, protocol %d, and not netfilter's: open the queue anew", domain, protocol)
	}
	its, err := netnsOf(fd)
	if err != nil {
		return err
	}
	ours, err := netnsOf(here)
	if err != nil {
		return err
	}
	if its.Dev != ours.Dev || its.Ino != ours.Ino {
		return errors.New("it is of another network namespace: open the queue anew")
	}
	return nil
}

// netnsOf is the network namespace of a socket.
func netnsOf(fd int) (stat unix.Stat_t, err error) {
	netns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return stat, fmt.Errorf("ioctl(SIOCGSKNS): %w", err)
	}
	defer unix.Close(netns)
	if err := unix.Fstat(netns, &stat); err != nil {
		return stat, fmt.Errorf("stat its network namespace: %w", err)
	}
	return stat, nil
}

// bound is the kernel's state of the queue, which the socket has bound.
func (q *Queue) bound() (queueState, error) {
	name, err := unix.Getsockname(q.fd)
	if err != nil {
		return queueState{}, fmt.Errorf("getsockname: %w", err)
	}
	k, ok := q.queues.find(q.number)
	switch {
	case q.queues.file == nil:
		return k, errors.New("/proc is needed to see whether it has the queue")
	case !ok:
		return k, errors.New("nobody has bound the queue: open it anew")
	case k.portid != name.(*unix.SockaddrNetlink).Pid:
		return k, fmt.Errorf("it has lost the queue, which is taken%s", holder(q.queues, q.number))
	}
	return k, nil
}

// repeat sends the packets that wait through the hook again, up to that of an ID.
// Nobody has them in his memory. Messages about them may still be in the socket.
func (q *Queue) repeat(last uint32) error {
	p := capture.Packet{Queue: q.number, ID: last, Verdict: capture.Repeat}
	verdict := appendVerdict(nil, msgVerdictBatch, &p)
	markRepeated(verdict)
	q.kept.passed, q.kept.passing = last, 1
	if !send(q.fd, verdict, writeVerdicts) {
		return errors.New("repeat: the kernel has no memory for the message: free some memory")
	}
	return nil
}

// Finish finishes what the process before has begun. The packets that it had received
// are passed to resume, in the batch in which they were: it finds out by the notes what
// was decided of them. Then the kernel gets all their verdicts. It refuses those that
// it had got before, which does no harm.
func (q *Queue) Finish(resume func([]capture.Packet)) error {
	q.running.Lock()
	defer q.running.Unlock()
	if q.closed.Load() {
		return nil
	}
	q.rounds.Add(1)
	defer q.rounds.Add(1)
	q.wake()
	defer q.sleep()
	got := q.received()
	q.settle(got, q.passOver(q.parse(got)), resume)
	if err := q.findLost(resume); err != nil {
		return explain(q.number, err)
	}
	q.kept.passing = 0
	return nil
}

// settle decides n packets of the messages that were received, and sends the verdicts,
// perhaps again.
func (q *Queue) settle(got, n int, resume func([]capture.Packet)) {
	if n > 0 {
		resume(q.packets[:n])
		q.decided.Add(uint64(n))
		verdicts := q.encode(n)
		markRepeated(verdicts)
		q.answer(verdicts, n)
	}
	q.clear(got)
}

// passOver takes those out of the first n packets that were sent through the hook
// again. They are the first.
func (q *Queue) passOver(n int) int {
	first := 0
	for first < n && q.isPassed(q.packets[first].ID) {
		first++
	}
	copy(q.packets[:], q.packets[first:n])
	return n - first
}

// isPassed follows nfq_id_after: an ID may wrap.
func (q *Queue) isPassed(id uint32) bool {
	return q.kept.passing != 0 && int32(id-q.kept.passed) <= 0
}

// findLost sends packets through the hook again that wait though no message about them
// is left: the kernel shows a packet once. It receives what has come meanwhile.
//
// There are none, but if the process before was killed while the kernel had no memory
// for a page of the inbox, or if its memory is of no use.
func (q *Queue) findLost(resume func([]capture.Packet)) error {
	k, err := q.bound()
	if err != nil || k.waiting == 0 && q.kept.passing == 0 {
		return err
	}
	for {
		got, err := receive(q.fd, q.heads[:], unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN && q.isPassed(k.last):
			return nil
		case err == unix.EAGAIN:
			// What waited when bound looked has no message now. That of the last one may
			// just come: it will be passed over.
			if err := q.repeat(k.last); err != nil {
				return err
			}
			continue
		case err == unix.ENOBUFS:
			q.overruns.Add(1)
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		n := q.passOver(q.parse(got))
		if n > 0 {
			if err := q.repeat(q.packets[0].ID - 1); err != nil {
				return err
			}
		}
		if q.settle(got, n, resume); n > 0 {
			return nil
		}
	}
}
