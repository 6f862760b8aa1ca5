package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Constants of include/uapi/linux/netfilter/nfnetlink_queue.h that go-nfqueue does
// not export.
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

// checkBind finds out whether the capability or the kernel's module is missing. It
// sends the obsolete PF_BIND, which does nothing else. A queue that is taken is
// EPERM too: after checkBind, EPERM means only that.
func checkBind(fd int, number uint16) error {
	if err := tell(fd, number, command(cmdPFBind)); err != nil {
		return explainOpen(err)
	}
	return nil
}

// tell sends a message with those attributes on a socket that no queue is bound by, and
// returns the kernel's error.
func tell(fd int, number uint16, attributes ...netlink.Attribute) error {
	body, err := config(number, attributes...)
	if err != nil {
		return err
	}
	head := appendNlmsg(nil, uint32(headerLen+len(body)), msgConfig, unix.NLM_F_REQUEST)
	if !send(fd, append(head, body...), unix.Write) {
		return errors.New("the kernel has no memory for the message: free some memory")
	}
	return refusal(fd)
}

// bind makes the queue and configures it in one message, so that no packet comes
// in between (nfqnl_recv_config).
func bind(fd int, number uint16, options Options, queues *procQueues) error {
	err := tell(fd, number, append([]netlink.Attribute{command(cmdBind)}, options.attributes()...)...)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("taken%s: stop that program, or use another queue number", holder(queues, number))
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel's nfnetlink_queue does not report a packet's socket (NFQA_CFG_F_UID_GID): use Linux 4.0 or later")
	case err != nil:
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// refusal returns the kernel's error for the first message sent on a socket. It does
// not ask for an acknowledgement, because packets of the new queue could arrive
// before that. The kernel carries a message out before send returns, and a queue
// that it refused has no packets: so an error is the first message in the socket.
func refusal(fd int) error {
	var first [headerLen + 4]byte // up to the errno of a struct nlmsgerr
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

// explainOpen says what to do about an error of nfq.Open or checkBind.
func explainOpen(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("no permission: run as root, or with CAP_NET_ADMIN in the network namespace: %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("this kernel has no nfnetlink_queue: modprobe nfnetlink_queue, or use a kernel with CONFIG_NETFILTER_NETLINK_QUEUE: %w", err)
	}
	return fmt.Errorf("open: %w", err)
}

// config forms the body of an NFQNL_MSG_CONFIG message.
func config(number uint16, attrs ...netlink.Attribute) ([]byte, error) {
	body, err := netlink.MarshalAttributes(attrs)
	return append(appendGenmsg(nil, number), body...), err
}

func command(cmd byte) netlink.Attribute {
	return netlink.Attribute{Type: cfgCmd, Data: []byte{cmd, 0, 0, unix.AF_INET}}
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// duplicate returns a copy of the connection's descriptor that blocks. The caller
// closes the connection: while it is open, Go's poller has its descriptor and wakes
// a second thread for each message.
func duplicate(con *netlink.Conn) (int, error) {
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

// holder names the program that holds the queue. The kernel knows its netlink port,
// which is the process id for the first netlink socket of a process.
func holder(queues *procQueues, number uint16) string {
	k, ok := queues.find(number)
	if !ok {
		return ""
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", k.portid))
	if err != nil {
		return fmt.Sprintf(" by netlink port %d", k.portid)
	}
	return fmt.Sprintf(" by process %d (%s)", k.portid, strings.TrimSpace(string(comm)))
}
