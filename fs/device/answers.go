package device

import (
	"bytes"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	// A small answer has room for a path, a large one for what most READs ask for,
	// a huge one for the largest READ.
	smallAnswer = 8192
	largeAnswer = 128<<10 + 4096
	hugeAnswer  = MaxRead + 4096
	// These are how many requests that are not quick may be answered at once with
	// memory of each size. Any user may have thousands of them under way.
	maxSmall = 64
	maxLarge = 64
	maxHuge  = 8
)

// answers is the memory of answers of one size. Where all is in use, requests wait in
// line, without a goroutine: then each costs little more than its bytes.
type answers struct {
	pool sync.Pool // *[]byte

	mu      sync.Mutex
	free    int       // how many more may be in use; guarded by mu
	waiting []pending // the first in line first; guarded by mu
}

// pending is a request that is not quick.
type pending struct {
	in   []byte
	slow slowRequest
}

func newAnswers(size, most int) *answers {
	return &answers{pool: sync.Pool{New: func() any { return newAnswer(size) }}, free: most}
}

func newAnswer(size int) *[]byte {
	b := make([]byte, size)
	return &b
}

// begin tells whether there is memory for the answer. If not, the request waits in line.
func (a *answers) begin(w pending) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.free > 0 {
		a.free--
		return true
	}
	a.waiting = append(a.waiting, w)
	return false
}

// next is the first in line, for the memory of a request that is answered. If nobody
// waits, the memory is free.
func (a *answers) next() (w pending, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 {
		a.waiting = nil // which may have been a long line
		a.free++
		return w, false
	}
	w, a.waiting[0] = a.waiting[0], w
	a.waiting = a.waiting[1:]
	return w, true
}

// roomFor is the memory for the answer to a request that is not quick. One that may wait
// for a notification holds no large memory meanwhile, and no READ waits for it.
func (l *loop) roomFor(in []byte) *answers {
	switch header(in).Opcode {
	case opOpen, opGetAttr:
		return l.small
	}
	// A READDIR has the form of a READ.
	if read, ok := request[fuse.ReadIn](in); ok && (read.Opcode == opRead || read.Opcode == opReadDir) && int(read.Size)+headerOut > largeAnswer {
		return l.huge
	}
	return l.large
}

// takeSlow takes the request in l.in, which is not quick. It returns false if the request
// waits in line.
func (l *loop) takeSlow(n int) (w pending, room *answers, ok bool) {
	w = pending{bytes.Clone(l.in[:n]), l.noteSlow()}
	room = l.roomFor(w.in)
	return w, room, room.begin(w)
}

// answerSlow answers a request for which there is memory, and then those that wait for
// that.
func (l *loop) answerSlow(w pending, room *answers) {
	out := room.pool.Get().(*[]byte)
	defer room.pool.Put(out)
	for ok := true; ok; w, ok = room.next() {
		w.slow.begin()
		l.send(*out, l.answer(w.in, *out))
		w.slow.end()
	}
}
