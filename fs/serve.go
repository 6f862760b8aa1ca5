package fs

import (
	"runtime"
	"sync"
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

// The opcodes of include/uapi/linux/fuse.h that are told apart here.
const (
	opLookup      = 1
	opForget      = 2
	opOpen        = 14
	opWrite       = 16
	opRelease     = 18
	opInterrupt   = 36
	opBatchForget = 42
)

const (
	headerIn  = int(unsafe.Sizeof(fuse.InHeader{}))
	headerOut = int(unsafe.Sizeof(fuse.OutHeader{}))
	// messageSize is room for the largest message: fuse_dev_do_read insists
	// on that for max_write and the headers.
	messageSize = maxRead + 4096
)

// loop reads the kernel's requests and answers them, instead of go-fuse's own
// loop, which wakes a further thread for each request: with that an echo takes
// more than twice as long.
//
// One goroutine at a time leads: it reads, and answers at once what is short.
// Before it turns to anything else it lets another one lead. So there is always
// somebody who reads while a long answer is made, and while a notification is
// sent: that may wait for a page which a reader holds who waits for our answer.
type loop struct {
	fd       int
	awake    time.Duration
	fs       fuse.RawFileSystem
	protocol *fuse.ProtocolServer
	log      bool // go-fuse is to see and log every request
	messages sync.Pool
	working  sync.WaitGroup // the goroutines that lead or answer
}

// message is a request and its answer.
type message struct {
	in, out []byte
	ready   [1]unix.PollFd
}

// newLoop makes a loop for a descriptor of the device on which go-fuse has
// agreed with the kernel on the protocol.
func newLoop(fd int, fs fuse.RawFileSystem, opts *fuse.MountOptions, agreed *fuse.InitIn) *loop {
	l := &loop{fd: fd, awake: awake, fs: fs, protocol: fuse.NewProtocolServer(fs, opts), log: opts.Debug}
	if runtime.GOMAXPROCS(0) == 1 {
		l.awake = 0 // whoever asks needs the processor that we would be awake on
	}
	l.messages.New = func() any {
		return &message{in: make([]byte, messageSize), out: make([]byte, messageSize)}
	}
	// The part of go-fuse that parses requests learns the protocol's version
	// from the kernel's INIT, which came before it.
	m := l.messages.Get().(*message)
	defer l.messages.Put(m)
	n := copy(m.in, unsafe.Slice((*byte)(unsafe.Pointer(agreed)), unsafe.Sizeof(*agreed)))
	l.protocol.HandleRequest([][]byte{m.in[:n]}, [][]byte{m.out})
	return l
}

// run answers requests until the mount has ended.
func (l *loop) run() {
	// An error means that read sleeps by itself.
	unix.SetNonblock(l.fd, true)
	l.working.Add(1)
	l.lead()
	l.working.Wait()
}

// lead reads requests until the mount has ended or one is not short.
func (l *loop) lead() {
	defer l.working.Done()
	m := l.messages.Get().(*message)
	defer l.messages.Put(m)
	// Who has just begun to lead sleeps at once: another one is at work, and
	// whoever reads, or the packets, need the other processors.
	for awake := time.Duration(0); ; awake = l.awake {
		n := l.read(m, awake)
		if n < headerIn {
			return
		}
		in := m.in[:n]
		leads := short(in)
		if !leads {
			l.working.Add(1)
			go l.lead()
		}
		if out := l.answer(in, m.out); out > 0 {
			// An error says that nobody waits for the answer any more.
			unix.Write(l.fd, m.out[:out])
		}
		if !leads {
			return
		}
	}
}

// read reads the next request and returns its length, or 0 when the mount has
// ended. It sleeps when there has been none for as long as awake.
func (l *loop) read(m *message, awake time.Duration) int {
	for start := time.Now(); ; {
		n, err := unix.Read(l.fd, m.in)
		switch err {
		case nil:
			return n
		case unix.EAGAIN:
			if time.Since(start) >= awake {
				m.ready[0] = unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN}
				unix.Poll(m.ready[:], -1)
			}
		case unix.EINTR, unix.ENOENT: // ENOENT: it was taken back meanwhile
		default:
			return 0
		}
	}
}

// short tells whether a request is answered at once: without a notification,
// and without waiting for more than a lock that is held as shortly.
func short(in []byte) bool {
	switch header(in).Opcode {
	case opLookup, opForget, opBatchForget, opWrite, opRelease, opInterrupt:
		return true
	case opOpen:
		open, ok := request[fuse.OpenIn](in)
		return ok && !reads(open.Flags)
	}
	return false
}

// answer answers a request into out and returns the answer's length, which is
// 0 for a request that has none.
func (l *loop) answer(in, out []byte) (n int) {
	defer func() {
		if v := recover(); v != nil {
			n = reply(in, out, reportPanic(v), 0)
		}
	}()
	if n, ok := l.echo(in, out); ok {
		return n
	}
	n, status := l.protocol.HandleRequest([][]byte{in}, [][]byte{out})
	if !status.Ok() {
		return reply(in, out, status, 0)
	}
	return n
}

// echo answers what every echo into a file asks, as HandleRequest would, but
// without its dozen allocations.
func (l *loop) echo(in, out []byte) (n int, ok bool) {
	if h := header(in); l.log || h.NodeId == pollNode || h.TotalExtlen != 0 {
		return 0, false
	}
	result := unsafe.Pointer(&out[headerOut])
	switch header(in).Opcode {
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

func header(in []byte) *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&in[0])) }

// request is a message as what its opcode says it is; ok is false where it is
// too short for that.
func request[T any](in []byte) (r *T, ok bool) {
	if uintptr(len(in)) < unsafe.Sizeof(*r) {
		return nil, false
	}
	return (*T)(unsafe.Pointer(&in[0])), true
}

// reply completes an answer of that size, or makes it an error, and returns
// its length.
func reply(in, out []byte, status fuse.Status, size uintptr) int {
	if !status.Ok() {
		size = 0
	}
	n := headerOut + int(size)
	*(*fuse.OutHeader)(unsafe.Pointer(&out[0])) = fuse.OutHeader{
		Length: uint32(n),
		Status: -int32(status),
		Unique: header(in).Unique,
	}
	return n
}
