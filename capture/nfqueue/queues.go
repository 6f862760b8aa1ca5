package nfqueue

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"sync"
)

// procQueues is the kernel's list of the queues in a network namespace, a file of
// procfs.
type procQueues struct {
	file io.ReaderAt // nil without procfs: then find finds nothing

	mu     sync.Mutex
	last   queueState // guarded by mu
	turn   uint64     // guarded by mu: the turn of the loop when last was read
	socket int        // guarded by mu: of the queue, once it is bound and until close; or 0
}

// queueState is a line of the list (seq_show of nfnetlink_queue.c).
type queueState struct {
	portid     uint32
	waiting    uint32 // queue_total
	full, lost uint32 // queue_dropped, queue_user_dropped
	passed     uint32 // not in the line, but what of missed is not lost
	last       uint32 // id_sequence: the ID of the last packet that came
}

const procQueuesFile = "/proc/thread-self/net/netfilter/nfnetlink_queue"

// openProcQueues opens the list of the calling thread's network namespace. The file
// belongs to that namespace, whichever thread reads it.
func openProcQueues() *procQueues {
	f, err := os.Open(procQueuesFile)
	if err != nil {
		return new(procQueues)
	}
	return &procQueues{file: f}
}

// watch has state look at the queue's socket too, until close.
func (p *procQueues) watch(socket int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.socket = socket
}

func (p *procQueues) close() {
	p.watch(0)
	if f, ok := p.file.(io.Closer); ok {
		f.Close()
	}
}

// state returns the kernel's state of a queue whose loop is at a turn. While the
// loop is parked, at even turns, no packet enters the queue: then one read is
// enough.
func (p *procQueues) state(number uint16, turn uint64) queueState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if turn%2 != 0 || turn != p.turn {
		p.last, _ = p.find(number)
		// A message may be missed between find and here, but none is lost that missed
		// has not counted.
		if p.socket != 0 {
			p.last.passed = uint32(max(0, int32(missed(p.socket)-p.last.lost)))
		}
		p.turn = turn
	}
	return p.last
}

// find reads the list and looks for a queue.
func (p *procQueues) find(number uint16) (queueState, bool) {
	if p.file == nil {
		return queueState{}, false
	}
	text, err := io.ReadAll(io.NewSectionReader(p.file, 0, 1<<30))
	if err != nil {
		return queueState{}, false
	}
	for line := range bytes.Lines(text) {
		var v [8]uint32
		fields := bytes.Fields(line)
		if len(fields) < len(v) {
			continue
		}
		for i := range v {
			n, err := strconv.ParseUint(string(fields[i]), 10, 32)
			if err != nil {
				return queueState{}, false
			}
			v[i] = uint32(n)
		}
		if v[0] == uint32(number) {
			return queueState{portid: v[1], waiting: v[2], full: v[5], lost: v[6], last: v[7]}, true
		}
	}
	return queueState{}, false
}
