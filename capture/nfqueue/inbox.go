package nfqueue

import "unsafe"

// inbox is what recvmmsg fills. It has no pointers of Go: it may be memory that another
// process will map elsewhere. Its addresses are good as long as it does not move. It is
// too large for a stack, and nothing else of Go's moves.
type inbox struct {
	heads   [batchSize]mmsghdr
	iovecs  [batchSize]iovec
	buffers [batchSize][messageSize]byte
}

// mmsghdr, msghdr and iovec are the kernel's struct mmsghdr, struct user_msghdr and
// struct iovec, with addresses as numbers.
type (
	mmsghdr struct {
		hdr msghdr
		len uint32
	}
	msghdr struct {
		name       uintptr
		namelen    int32
		iov        uintptr
		iovlen     uintptr
		control    uintptr
		controllen uintptr
		flags      uint32
	}
	iovec struct{ base, len uintptr }
)

func newInbox() *inbox {
	in := new(inbox)
	in.prepare()
	return in
}

// prepare makes it ready to receive. It leaves what was received.
func (in *inbox) prepare() {
	for i := range in.heads {
		in.iovecs[i] = iovec{uintptr(unsafe.Pointer(&in.buffers[i])), messageSize}
		in.heads[i].hdr = msghdr{iov: uintptr(unsafe.Pointer(&in.iovecs[i])), iovlen: 1}
	}
}

// received is how many messages the kernel has put there since clear.
func (in *inbox) received() int {
	n := 0
	for n < batchSize && in.heads[n].len != 0 {
		n++
	}
	return n
}

// clear forgets the first n messages, the last one first. So those that are left after
// a kill are the first of the batch.
func (in *inbox) clear(n int) {
	for i := n - 1; i >= 0; i-- {
		in.heads[i].len = 0
	}
}

// message returns the i-th message that recvmmsg received.
func (in *inbox) message(i int) []byte {
	return in.buffers[i][:min(in.heads[i].len, messageSize)]
}
