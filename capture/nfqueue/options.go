package nfqueue

import (
	"errors"
	"fmt"
	"unsafe"

	nfq "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// DefaultLength is how many packets may wait for a verdict. The kernel's own
	// default is 1024.
	DefaultLength = 8192
	// DefaultBuffer is the size of the socket's buffer. The kernel doubles it, and
	// counts about 1300 bytes for a message, so that DefaultLength messages fit: the
	// queue is full before the socket is.
	DefaultBuffer = 8 << 20
	// LeastBuffer has room for a message, and MostBuffer is what the kernel takes
	// (__sock_set_rcvbuf).
	LeastBuffer = 4 << 10
	MostBuffer  = 1<<30 - 1
)

// Options say how much the kernel keeps for a queue, and what becomes of the packets
// for which there is no room. A queue that is adopted gets them anew.
type Options struct {
	Length uint32 // how many packets may wait for a verdict; 0: DefaultLength
	Buffer int    // the size of the socket's buffer in bytes; 0: DefaultBuffer
	// Accept has the kernel accept a packet that finds the queue or the buffer full
	// (NFQA_CFG_F_FAIL_OPEN). Otherwise it drops the packet, since no rule has
	// accepted it.
	Accept bool
}

// OrDefaults has no 0.
func (o Options) OrDefaults() Options {
	if o.Length == 0 {
		o.Length = DefaultLength
	}
	if o.Buffer == 0 {
		o.Buffer = DefaultBuffer
	}
	return o
}

// attributes configure a queue (nfqnl_recv_config). With GSO large segments arrive
// whole, because the rules only read headers. UID_GID shows which packets have a
// socket.
func (o Options) attributes() []netlink.Attribute {
	flags := uint32(nfq.NfQaCfgFlagGSO | nfq.NfQaCfgFlagUIDGid)
	mask := flags | nfq.NfQaCfgFlagFailOpen
	if o.Accept {
		flags = mask
	}
	return []netlink.Attribute{
		{Type: cfgParams, Data: append(be32(copyRange), nfq.NfQnlCopyPacket)},
		{Type: cfgQueueMaxLen, Data: be32(o.Length)},
		{Type: cfgMask, Data: be32(mask)},
		{Type: cfgFlags, Data: be32(flags)},
	}
}

// configure configures a queue that is bound already. The answer is not waited for,
// since packets wait in the socket before it. The kernel refuses nothing here that it
// has not refused to bind.
func (q *Queue) configure() error {
	body, err := config(q.number, q.options.attributes()...)
	if err != nil {
		return err
	}
	message := append(appendNlmsg(nil, uint32(headerLen+len(body)), msgConfig, unix.NLM_F_REQUEST), body...)
	if !send(q.fd, message, unix.Write) {
		return errors.New("configure it: the kernel has no memory for the message: free some memory")
	}
	return nil
}

// setOptions sets the options of the queue's socket and the size of its buffer.
//
// By default, after the buffer was full, netlink reports ENOBUFS and drops every
// message until the socket was read empty. With NETLINK_NO_ENOBUFS it drops only
// the messages that do not fit (netlink_overrun). The kernel counts both as the
// queue's user_dropped.
func setOptions(fd, buffer int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1); err != nil {
		return fmt.Errorf("setsockopt(NETLINK_NO_ENOBUFS): %w", err)
	}
	// SO_RCVBUFFORCE needs CAP_NET_ADMIN in the first user namespace. In another
	// one only SO_RCVBUF is allowed, up to net.core.rmem_max.
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	if err != nil {
		return fmt.Errorf("setsockopt(SO_RCVBUF): %w", err)
	}
	wait := unix.NsecToTimeval(int64(linger))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return fmt.Errorf("setsockopt(SO_RCVTIMEO): %w", err)
	}
	return nil
}

// Buffer is the size of the socket's buffer that the kernel has given, in the measure
// of Options. Nobody may call Close meanwhile.
func (q *Queue) Buffer() (int, error) {
	doubled, err := unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0, explain(q.number, fmt.Errorf("getsockopt(SO_RCVBUF): %w", err))
	}
	return doubled / 2, nil
}

// missed is how many messages found a socket full, or 0 before Linux 4.12. The kernel
// counts them here also if it accepts their packets (netlink_overrun).
func missed(fd int) uint32 {
	const drops = 8 // SK_MEMINFO_DROPS
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	// Both pointers are to variables of this function, which the kernel fills.
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return info[drops]
}
