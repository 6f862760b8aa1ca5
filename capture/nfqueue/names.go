package nfqueue

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// unnamed stands for a device that has gone: no device has this name, and the
// packet still has come in, or goes out, by one. The kernel drops the packets
// of a device that goes (nfqnl_dev_drop), so such a verdict moves nothing.
const unnamed = "/"

// names knows the network devices of the queue's namespace by their index. It
// asks the kernel for each once, and again for all when any has changed.
//
// The notices of changes have a thread of their own, which sleeps in the
// kernel. They do not go by Go's poller, so that close depends on nothing but
// an answer of the kernel's.
type names struct {
	fd      int               // any socket of the namespace
	known   map[uint32]string // the packet loop's own
	notices int               // rtnetlink, blocking
	stale   atomic.Bool       // a device came, went or was renamed
	blind   atomic.Bool       // nobody watches any more: nothing stays known
	closed  atomic.Bool
	done    chan struct{} // closed when watch has ended
}

// watchNames subscribes to the changes of devices in a network namespace.
func watchNames(fd, netns int) (*names, error) {
	con, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
		Groups: 1 << (unix.RTNLGRP_LINK - 1),
		NetNS:  netns,
	})
	if err != nil {
		return nil, fmt.Errorf("watch the network devices: %w", err)
	}
	defer con.Close()
	notices, err := takeOver(con)
	if err != nil {
		return nil, fmt.Errorf("watch the network devices: %w", err)
	}
	n := &names{fd: fd, known: make(map[uint32]string), notices: notices, done: make(chan struct{})}
	go n.watch()
	return n, nil
}

// watch runs until close. Any message, and the loss of some, means that a name
// may have changed; what it says does not matter.
func (n *names) watch() {
	defer close(n.done)
	var some [1]byte
	for !n.closed.Load() {
		_, _, err := unix.Recvfrom(n.notices, some[:], 0)
		switch err {
		case nil, unix.ENOBUFS, unix.EINTR:
		default:
			n.blind.Store(true)
			n.stale.Store(true)
			return
		}
		n.stale.Store(true)
	}
}

// close ends watch by a message that asks for nothing but to be acknowledged.
// Where there is no room for the acknowledgement, watch has notices to read,
// or is told of those that were lost (netlink_ack), and does not sleep.
func (n *names) close() error {
	n.closed.Store(true)
	if _, err := unix.Write(n.notices, appendNoop(nil)); err != nil {
		return err // and watch keeps its socket
	}
	<-n.done
	return unix.Close(n.notices)
}

// refresh forgets the names if one may have changed. It is called before each
// batch, and costs one atomic load then.
func (n *names) refresh() {
	if n.stale.Load() {
		n.stale.Store(n.blind.Load())
		clear(n.known)
	}
}

// name is the device's name; index 0 is no device, and has none.
func (n *names) name(index uint32) string {
	if index == 0 {
		return ""
	}
	if name, ok := n.known[index]; ok {
		return name
	}
	name := deviceName(n.fd, index)
	if name == "" {
		return unnamed
	}
	n.known[index] = name
	return name
}

// deviceName asks the kernel: dev_ifname, which any socket serves. It is empty
// where there is no such device.
func deviceName(fd int, index uint32) string {
	var req struct { // struct ifreq
		name  [unix.IFNAMSIZ]byte
		index uint32
		_     [20]byte
	}
	req.index = index
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return ""
	}
	name, _, _ := bytes.Cut(req.name[:], []byte{0})
	return string(name)
}
