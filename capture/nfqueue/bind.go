package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	nfq "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of include/uapi/linux/netfilter/nfnetlink_queue.h, what go-nfqueue does not
// export.
const (
	msgPacket  = unix.NFNL_SUBSYS_QUEUE << 8
	msgVerdict = unix.NFNL_SUBSYS_QUEUE<<8 | 1
	msgConfig  = unix.NFNL_SUBSYS_QUEUE<<8 | 2

	msgVerdictBatch = unix.NFNL_SUBSYS_QUEUE<<8 | 3

	cfgCmd         = 1 // NFQA_CFG_CMD: struct nfqnl_msg_config_cmd
	cfgParams      = 2 // NFQA_CFG_PARAMS: struct nfqnl_msg_config_params
	cfgQueueMaxLen = 3
	cfgMask        = 4
	cfgFlags       = 5

	cmdBind   = 1
	cmdUnbind = 2
	cmdPFBind = 3
)

// mayBind asks for the capability and for the module, by the obsolete PF_BIND
// that does nothing else. Their errors stay apart so from those of a queue that
// is taken, which is EPERM as well.
func mayBind(con *netlink.Conn, number uint16) error {
	body, err := config(number, command(cmdPFBind))
	if err != nil {
		return err
	}
	_, err = con.Execute(netlink.Message{
		Header: netlink.Header{Type: msgConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   body,
	})
	if err != nil {
		return explainOpen(err)
	}
	return nil
}

// bind makes the queue and sets it up in one message, so that it never holds a
// packet in another mode: nfqnl_recv_config.
//
// Fail-open stays off: a packet that finds the queue full is dropped, since no
// rule has said that it may pass. Large segments come whole (GSO), since only
// headers matter, and UID_GID shows which packets have a socket.
func bind(fd int, number uint16, l *list) error {
	flags := be32(nfq.NfQaCfgFlagGSO | nfq.NfQaCfgFlagUIDGid)
	body, err := config(number,
		command(cmdBind),
		netlink.Attribute{Type: cfgParams, Data: append(be32(copyRange), nfq.NfQnlCopyPacket)},
		netlink.Attribute{Type: cfgQueueMaxLen, Data: be32(maxLength)},
		netlink.Attribute{Type: cfgMask, Data: flags},
		netlink.Attribute{Type: cfgFlags, Data: flags},
	)
	if err != nil {
		return err
	}
	head := appendNlmsg(nil, uint32(headerLen+len(body)), msgConfig, unix.NLM_F_REQUEST)
	if !send(fd, append(head, body...), unix.Write) {
		return errors.New("bind: the kernel takes no message, for want of memory")
	}
	err = refusal(fd)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("taken%s: stop that program or use another queue number", holder(l, number))
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel's nfnetlink_queue does not tell a packet's socket (NFQA_CFG_F_UID_GID): Linux 4.0 or later is needed")
	case err != nil:
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// refusal is what the kernel has against the first message that was sent on a
// socket. It needs no acknowledgement, before which the new queue's packets
// could arrive: the kernel carries a message out before send returns, and a
// queue that it refused to make has no packets, so that an error is the first
// message there.
func refusal(fd int) error {
	var first [headerLen + 4]byte // and of a struct nlmsgerr the errno
	n, _, err := unix.Recvfrom(fd, first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return err
	case n == len(first) && native.Uint16(first[4:]) == unix.NLMSG_ERROR:
		return unix.Errno(-int32(native.Uint32(first[headerLen:])))
	}
	return nil
}

// explainOpen adds the next step to an error of the first steps.
func explainOpen(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("no permission: CAP_NET_ADMIN in the network namespace is needed, run as root: %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("this kernel has no nfnetlink_queue: modprobe nfnetlink_queue, or use a kernel with CONFIG_NETFILTER_NETLINK_QUEUE: %w", err)
	}
	return fmt.Errorf("open: %w", err)
}

// config is the body of an NFQNL_MSG_CONFIG.
func config(number uint16, attrs ...netlink.Attribute) ([]byte, error) {
	body, err := netlink.MarshalAttributes(attrs)
	return append(appendGenmsg(nil, number), body...), err
}

func command(cmd byte) netlink.Attribute {
	return netlink.Attribute{Type: cfgCmd, Data: []byte{cmd, 0, 0, unix.AF_INET}}
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// takeOver duplicates the connection's descriptor and makes it block. The
// connection itself is closed afterwards: Go's poller would otherwise wake a
// thread for each message besides the one that waits in the kernel.
func takeOver(con *netlink.Conn) (int, error) {
	raw, err := con.SyscallConn()
	if err != nil {
		return -1, err
	}
	dup := -1
	var dupErr error
	if err := raw.Control(func(fd uintptr) {
		dup, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	if dupErr != nil {
		return -1, fmt.Errorf("dup: %w", dupErr)
	}
	if err := unix.SetNonblock(dup, false); err != nil {
		unix.Close(dup)
		return -1, fmt.Errorf("make the socket block: %w", err)
	}
	return dup, nil
}

// prepare sets the options of the queue's socket, and its large buffer.
//
// After a full buffer netlink holds back everything until the socket has been
// read empty, and reports it; NETLINK_NO_ENOBUFS loses only what finds no room
// (netlink_overrun). The kernel counts either as the queue's user_dropped.
func prepare(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1); err != nil {
		return fmt.Errorf("setsockopt(NETLINK_NO_ENOBUFS): %w", err)
	}
	// In a user namespace only SO_RCVBUF is allowed, up to rmem_max.
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
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

// holder names who holds the queue, as far as the kernel tells: a port id,
// which is the process id for the first netlink socket of a process.
func holder(l *list, number uint16) string {
	k, ok := l.find(number)
	if !ok {
		return ""
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", k.portid))
	if err != nil {
		return fmt.Sprintf(" by netlink port %d", k.portid)
	}
	return fmt.Sprintf(" by process %d (%s)", k.portid, strings.TrimSpace(string(comm)))
}
