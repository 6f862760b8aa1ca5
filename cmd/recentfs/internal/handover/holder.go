package handover

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Holder keeps descriptors for the next process. A nil Holder keeps nothing.
type Holder struct {
	socket int
	path   string
}

// notifySocket names the holder's socket in the environment.
const notifySocket = "NOTIFY_SOCKET"

// NewHolder finds the holder of this process, which NOTIFY_SOCKET names. It is nil
// where there is none.
func NewHolder() (*Holder, error) {
	path := os.Getenv(notifySocket)
	if path == "" {
		return nil, nil
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", notifySocket, err)
	}
	return &Holder{socket, path}, nil
}

// Store has the holder keep copies of descriptors under a name, beside what it keeps
// under that name already. FDPOLL=0 has systemd keep a socket that reports an error,
// as a queue's socket does when it was full.
func (h *Holder) Store(name string, fds ...int) error {
	if h == nil {
		return nil
	}
	return h.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fds...)
}

// Remove has the holder close what it keeps under a name.
func (h *Holder) Remove(name string) error {
	if h == nil {
		return nil
	}
	return h.send("FDSTOREREMOVE=1\nFDNAME=" + name)
}

// Answers is an error if the holder is gone.
func (h *Holder) Answers() error {
	return h.send("STATUS=leaving queues and mounts to the next process")
}

func (h *Holder) send(text string, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	to := &unix.SockaddrUnix{Name: h.path} // of this call alone: Sendmsg writes into it
	for {
		switch err := unix.Sendmsg(h.socket, []byte(text), rights, to, unix.MSG_NOSIGNAL); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("%s: %w", notifySocket, err)
		}
	}
}

// Close ends the connection. The holder keeps what it has.
func (h *Holder) Close() {
	if h != nil {
		_ = unix.Close(h.socket) // it is ours
	}
}
