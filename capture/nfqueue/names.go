package nfqueue

import (
	"bytes"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unnamed stands for a device that has gone: no device has this name, and the
// packet still has come in, or goes out, by one. The kernel drops the packets
// of a device that goes (nfqnl_dev_drop), so such a verdict moves nothing.
const unnamed = "/"

const (
	// nameAge is how old a name may be: a device that is renamed goes by its
	// old name for so long. Asking is a system call, half of what it costs to
	// receive a packet, and this makes it rare. Notices of changes (rtnetlink)
	// would cost each queue a socket, and each batch a look at it.
	nameAge = 10 * time.Millisecond
	// manyNames bounds what is kept where devices come and go.
	manyNames = 256
)

// names knows the network devices of a queue's namespace by their index.
type names struct {
	fd    int              // any socket of the namespace
	now   time.Duration    // of the batch, since epoch
	known map[uint32]named // nil until the first is asked for
}

// named is what a device was called at some time.
type named struct {
	name  string
	asked time.Duration // since epoch
}

var epoch = time.Now()

// begin makes names those of the namespace of a socket.
func (n *names) begin(fd int) {
	n.fd = fd
	clear(n.known)
}

// refresh is called before each batch.
func (n *names) refresh() { n.now = time.Since(epoch) }

// name is the device's name; index 0 is no device, and has none.
func (n *names) name(index uint32) string {
	if index == 0 {
		return ""
	}
	d, ok := n.known[index]
	if ok && n.now-d.asked < nameAge {
		return d.name
	}
	return n.ask(index, d.name)
}

// ask asks the kernel for a device's name. The one known before is given again
// while it holds, so that nothing is allocated.
func (n *names) ask(index uint32, before string) string {
	var b [unix.IFNAMSIZ]byte
	name := deviceName(n.fd, index, &b)
	if len(name) == 0 {
		delete(n.known, index)
		return unnamed
	}
	if string(name) != before {
		before = string(name)
	}
	if n.known == nil || len(n.known) >= manyNames {
		n.known = make(map[uint32]named)
	}
	n.known[index] = named{before, n.now}
	return before
}

// deviceName asks the kernel: dev_ifname, which any socket serves. It is empty
// where there is no such device.
func deviceName(fd int, index uint32, b *[unix.IFNAMSIZ]byte) []byte {
	var req struct { // struct ifreq
		name  [unix.IFNAMSIZ]byte
		index uint32
		_     [20]byte
	}
	req.index = index
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return nil
	}
	*b = req.name
	name, _, _ := bytes.Cut(b[:], []byte{0})
	return name
}
