package nfqueue

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"sync"
)

// list is the kernel's list of queues in a network namespace.
type list struct {
	file io.ReaderAt // nil without procfs: then nothing is found

	mu   sync.Mutex
	last queueState // guarded by mu
	turn uint64     // guarded by mu: when last was read
}

// queueState is a line of the list: seq_show of nfnetlink_queue.c.
type queueState struct {
	portid     uint32
	waiting    uint32 // queue_total
	full, lost uint32 // queue_dropped, queue_user_dropped
}

// openList opens the list of the calling thread's network namespace. It keeps
// showing that namespace, whoever reads it.
func openList() *list {
	f, err := os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil {
		return new(list)
	}
	return &list{file: f}
}

func (l *list) close() {
	if f, ok := l.file.(io.Closer); ok {
		f.Close()
	}
}

// state is what the kernel says of a queue that is at a turn of its loop. While
// the loop is parked, where turns are even, nothing happens to the queue, and
// one look is enough.
func (l *list) state(number uint16, turn uint64) queueState {
	l.mu.Lock()
	defer l.mu.Unlock()
	if turn%2 != 0 || turn != l.turn {
		l.last, _ = l.find(number)
		l.turn = turn
	}
	return l.last
}

// find looks for a queue in the list, read from its start.
func (l *list) find(number uint16) (queueState, bool) {
	if l.file == nil {
		return queueState{}, false
	}
	text, err := io.ReadAll(io.NewSectionReader(l.file, 0, 1<<30))
	if err != nil {
		return queueState{}, false
	}
	for line := range bytes.Lines(text) {
		var v [7]uint32
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
			return queueState{portid: v[1], waiting: v[2], full: v[5], lost: v[6]}, true
		}
	}
	return queueState{}, false
}
