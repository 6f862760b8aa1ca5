package device

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// awake is how long the loop goes on asking the kernel after an answer, before
// it sleeps until there is a request. Most of a request's time is otherwise the
// waking of a sleeper, twice, and within an echo the next request is there 5 to
// 20 us after the last answer. It is also what one echo, with nothing after it,
// costs in processor time.
const awake = 50 * time.Microsecond

const (
	// requestSize is room for the largest request: fuse_dev_do_read insists on
	// that for max_write and the headers.
	requestSize = MaxRead + 4096
)

// loop reads the kernel's requests and answers them, instead of go-fuse's own
// loop, which wakes a further thread for each request: with that an echo takes
// more than twice as long.
//
// One goroutine at a time leads: it reads, and answers quick requests itself.
// Before any other it makes another goroutine lead, see the package comment.
type loop struct {
	fd       int
	awake    time.Duration
	fs       fuse.RawFileSystem
	protocol *fuse.ProtocolServer
	log      bool // go-fuse is to see and log every request

	in    []byte         // the leader's: the request at hand
	ready [2]unix.PollFd // the leader's: the device, and what wakes the loop

	memory *Memory // nil: nothing outlives the process

	// rounds is odd while the leader is at a request, and even while it reads.
	rounds atomic.Uint64
	// slow are the requests that others answer: those of the memory, if there is one.
	// answering tells of each whether it waits for nothing but its answer.
	slow      *[maxSlow]atomic.Uint64
	answering [maxSlow]atomic.Bool
	nextSlow  int // the leader's: where in slow to look for room

	leaving atomic.Bool // the loop is to end
	ended   bool        // the leader's: the mount has ended
	over    chan struct{}

	small, large, huge *answers
	working            sync.WaitGroup // the goroutines that lead or answer
}

// newLoop makes a loop for a descriptor of the device. It returns the answer to the
// kernel's INIT too, which the kernel may have had already.
func newLoop(fd int, fs fuse.RawFileSystem, opts *fuse.MountOptions, init *fuse.InitIn) (l *loop, answer []byte) {
	l = &loop{
		fd: fd, awake: awake, fs: fs, protocol: fuse.NewProtocolServer(fs, opts), log: opts.Debug,
		in:    make([]byte, requestSize),
		ready: [2]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: -1, Events: unix.POLLIN}},
		small: newAnswers(smallAnswer, maxSmall),
		large: newAnswers(largeAnswer, maxLarge),
		huge:  newAnswers(hugeAnswer, maxHuge),
		slow:  new([maxSlow]atomic.Uint64),
		over:  make(chan struct{}),
	}
	if runtime.GOMAXPROCS(0) == 1 {
		l.awake = 0 // whoever asks needs the processor that we would be awake on
	}
	// The part of go-fuse that parses requests learns the protocol's version from INIT.
	answer = *newAnswer(smallAnswer)
	in := unsafe.Slice((*byte)(unsafe.Pointer(init)), unsafe.Sizeof(*init))
	return l, answer[:l.answer(in, answer)]
}

// useMemory has the kernel write each request into memory that outlives the process.
func (l *loop) useMemory(m *Memory) {
	l.memory, l.in, l.slow = m, m.shared.in[:], &m.shared.slow
	l.ready[1].Fd = int32(m.wake)
	_, _ = unix.Read(m.wake, make([]byte, 8)) // which says EAGAIN if nobody left
}

// run answers requests until the mount has ended, or until the loop is to end. It
// tells whether the mount has ended.
func (l *loop) run() bool {
	// An error means that read sleeps by itself.
	_ = unix.SetNonblock(l.fd, true)
	l.working.Add(1)
	l.lead()
	l.working.Wait()
	return l.ended
}

// lead reads requests until the loop ends or one is not quick.
func (l *loop) lead() {
	defer l.working.Done()
	out := l.small.pool.Get().(*[]byte)
	defer l.small.pool.Put(out)
	// A new leader sleeps at once: another goroutine is at work, and the client
	// or the packets need the other processors.
	for awake := time.Duration(0); ; awake = l.awake {
		n := l.read(awake)
		if n < headerIn {
			return
		}
		l.rounds.Add(1)
		if isQuick(l.in[:n]) {
			l.send(*out, l.answer(l.in[:n], *out))
			l.answered()
			l.rounds.Add(1)
			continue
		}
		w, room, ok := l.takeSlow(n)
		l.answered()
		l.rounds.Add(1)
		if !ok {
			continue // as many others are at work as may
		}
		l.working.Add(1)
		go l.lead()
		l.answerSlow(w, room)
		return
	}
}

// answered notes that the request in l.in needs nothing more.
func (l *loop) answered() {
	if l.memory != nil {
		l.memory.shared.answered = header(l.in).Unique
	}
}

// read reads the next request into l.in and returns its length, or 0 when the
// loop is to end. It sleeps when there has been none for as long as awake.
func (l *loop) read(awake time.Duration) int {
	for start := time.Now(); !l.leaving.Load(); {
		n, err := unix.Read(l.fd, l.in)
		switch err {
		case nil:
			return n
		case unix.EAGAIN:
			if time.Since(start) >= awake {
				_, _ = unix.Poll(l.ready[:], -1) // a signal may end it early
			}
		case unix.EINTR, unix.ENOENT: // ENOENT: the request was taken back
		default:
			l.ended = true
			return 0
		}
	}
	return 0
}

// isQuick tells whether a request is answered at once: without a notification,
// without a large answer, and without waiting for more than a lock that is held
// for as short a time.
func isQuick(in []byte) bool {
	switch header(in).Opcode {
	case opLookup, opForget, opBatchForget, opWrite, opRelease, opInterrupt:
		return true
	case opOpen:
		open, ok := request[fuse.OpenIn](in)
		return ok && open.Flags&unix.O_ACCMODE == unix.O_WRONLY
	}
	return false
}

// send sends the first n bytes of an answer; 0 is no answer. An error says that
// nobody waits for it any more.
func (l *loop) send(out []byte, n int) {
	if n > 0 {
		_, _ = unix.Write(l.fd, out[:n])
	}
}

// answer answers a request into out and returns the answer's length, which is
// 0 for a request that has none.
func (l *loop) answer(in, out []byte) (n int) {
	defer func() {
		if v := recover(); v != nil {
			n = reply(in, out, reportPanic(v), 0)
		}
	}()
	if n, ok := l.answerFast(in, out); ok {
		return n
	}
	n, status := l.protocol.HandleRequest([][]byte{in}, [][]byte{out})
	if !status.Ok() {
		return reply(in, out, status, 0)
	}
	return n
}

// answerFast answers what every echo into a file asks, as HandleRequest would,
// but without its dozen allocations; and an INTERRUPT, as HandleRequest would
// not: see the package comment.
func (l *loop) answerFast(in, out []byte) (n int, ok bool) {
	h := header(in)
	switch {
	case h.Opcode == opInterrupt:
		return reply(in, out, fuse.ENOSYS, 0), true
	case l.log || h.NodeId == goFuseNode || h.TotalExtlen != 0:
		return 0, false
	}
	result := unsafe.Pointer(&out[headerOut])
	switch h.Opcode {
	case opOpen:
		if open, ok := request[fuse.OpenIn](in); ok {
			opened := (*fuse.OpenOut)(result)
			*opened = fuse.OpenOut{}
			status := l.fs.Open(nil, open, opened)
			return reply(in, out, status, unsafe.Sizeof(*opened)), true
		}
	case opWrite:
		if write, ok := request[fuse.WriteIn](in); ok {
			written := (*fuse.WriteOut)(result)
			*written = fuse.WriteOut{}
			var status fuse.Status
			written.Size, status = l.fs.Write(nil, write, in[unsafe.Sizeof(*write):])
			return reply(in, out, status, unsafe.Sizeof(*written)), true
		}
	case opRelease:
		if release, ok := request[fuse.ReleaseIn](in); ok {
			l.fs.Release(nil, release)
			return reply(in, out, fuse.OK, 0), true
		}
	}
	return 0, false
}
