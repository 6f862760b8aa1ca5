package nfqueue

import (
	"fmt"
	"os"

	nfq "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// Socket is a socket for a queue in a network namespace, and the kernel's list of the
// queues there. Another process may open it, where this one may not.
type Socket struct {
	fd     int
	queues *procQueues
}

// OpenSocket opens one in the network namespace of the calling thread.
//
// For a namespace other than the process's the caller must hold
// runtime.LockOSThread.
func OpenSocket() (Socket, error) {
	sock, err := nfq.Open(&nfq.Config{})
	if err != nil {
		return Socket{}, explainOpen(err)
	}
	defer sock.Con.Close()
	fd, err := duplicate(sock.Con)
	if err != nil {
		return Socket{}, err
	}
	return Socket{fd, openProcQueues()}, nil
}

// SocketOf is a Socket that another process has opened, by its Files. It has them.
func SocketOf(files []int) Socket {
	s := Socket{files[0], new(procQueues)}
	if len(files) > 1 {
		s.queues.file = os.NewFile(uintptr(files[1]), procQueuesFile)
	}
	return s
}

// Files are the descriptors of the socket and, where there is procfs, of the list. The
// socket has no use of them any more.
func (s Socket) Files() (files []int, err error) {
	files = []int{s.fd}
	if f, ok := s.queues.file.(*os.File); ok {
		defer f.Close()
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return files, fmt.Errorf("dup: %w", err)
		}
		files = append(files, fd)
	}
	return files, nil
}

// Close closes both.
func (s Socket) Close() {
	s.queues.close()
	_ = unix.Close(s.fd) // it is ours
}
