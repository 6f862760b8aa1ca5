package nfqueue

import (
	"bytes"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// goneDevice is the name of a device that is gone: the packet still came in, or
// goes out, by a device, and no device can have this name. Its verdict has no
// effect, because the kernel drops the packets of a device that goes
// (nfqnl_dev_drop).
const goneDevice = "/"

const (
	// nameAge is how long a name is used before the kernel is asked again: for so
	// long a renamed device keeps its old name. The question is a system call, and
	// costs half as much as receiving a packet. Notices of changes (rtnetlink)
	// would need a socket for each queue, and a look at it for each batch.
	nameAge = 10 * time.Millisecond
	// maxNames bounds the names that are kept, for namespaces where devices come
	// and go.
	maxNames = 256
)

// deviceNames knows the names of network devices in a queue's namespace.
type deviceNames struct {
	fd    int                  // any socket of the namespace
	now   time.Duration        // the time of the batch, since epoch
	known map[uint32]knownName // by device index; nil before the first name
}

// knownName is a device's name and the time when the kernel gave it.
type knownName struct {
	name  string
	asked time.Duration // since epoch
}

var epoch = time.Now()

// begin forgets all names and turns to the namespace of a socket: a batch passes
// from queue to queue.
func (n *deviceNames) begin(fd int) {
	n.fd = fd
	clear(n.known)
}

// refresh sets the time. It is called before each batch.
func (n *deviceNames) refresh() { n.now = time.Since(epoch) }

// name returns a device's name. Index 0 means no device: its name is empty.
func (n *deviceNames) name(index uint32) string {
	if index == 0 {
		return ""
	}
	d, ok := n.known[index]
	if ok && n.now-d.asked < nameAge {
		return d.name
	}
	return n.ask(index, d.name)
}

// ask asks the kernel for a device's name. If that has not changed, ask returns the
// same string as before and allocates nothing.
func (n *deviceNames) ask(index uint32, before string) string {
	var b [unix.IFNAMSIZ]byte
	name := askName(n.fd, index, &b)
	if len(name) == 0 {
		delete(n.known, index)
		return goneDevice
	}
	if string(name) != before {
		before = string(name)
	}
	if n.known == nil || len(n.known) >= maxNames {
		n.known = make(map[uint32]knownName)
	}
	n.known[index] = knownName{before, n.now}
	return before
}

// askName asks the kernel for a device's name, through a socket of any kind
// (dev_ifname). It returns nil if there is no such device.
func askName(fd int, index uint32, b *[unix.IFNAMSIZ]byte) []byte {
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
