// Package handover keeps descriptors beyond the end of a process: the queues' sockets
// and the FUSE devices. While nobody serves them, packets and files wait in the kernel.
// The next process goes on with them.
//
// Whoever holds the descriptors meanwhile is a holder. systemd is one: its service
// keeps what it is given by FDSTORE=1 (sd_notify(3)), and gives it to the next process
// (sd_listen_fds(3)). Keep is another one, for a machine without systemd, and does the
// same by the same messages. For Take it is the process before that gives them, and
// nobody has to hold them.
//
// Each queue and each mount has a name, which is that of its descriptors.
package handover

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Held are the descriptors that somebody held for this process, by name.
type Held map[string][]int

// The environment of sd_listen_fds(3).
const (
	listenPID   = "LISTEN_PID"
	listenFDs   = "LISTEN_FDS"
	listenNames = "LISTEN_FDNAMES"
	firstFD     = 3
)

// Received are the descriptors that the holder gave this process when it started it.
// Keep cannot know the number of a process that it is about to start, and names its
// own. Programs that this process starts do not get them.
func Received() Held {
	defer func() {
		for _, name := range []string{listenPID, listenFDs, listenNames} {
			os.Unsetenv(name)
		}
	}()
	pid, _ := strconv.Atoi(os.Getenv(listenPID)) // without the variable it is nobody's
	n, err := strconv.Atoi(os.Getenv(listenFDs))
	if err != nil || pid != os.Getpid() && pid != os.Getppid() {
		return nil
	}
	held := make(Held)
	names := strings.Split(os.Getenv(listenNames), ":")
	for i := range n {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		// What was given is open, and this process has not opened it: otherwise there
		// are fewer than the variable says.
		if flags, err := unix.FcntlInt(uintptr(firstFD+i), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			break
		}
		unix.CloseOnExec(firstFD + i)
		held.add(name, firstFD+i)
	}
	return held
}

func (h Held) add(name string, fd int) { h[name] = append(h[name], fd) }

// Take gives away the descriptors of a name. They are the caller's then.
func (h Held) Take(name string) []int {
	fds := h[name]
	delete(h, name)
	return fds
}

// Close closes what nobody took, and returns the names.
func (h Held) Close() (names []string) {
	for name, fds := range h {
		names = append(names, name)
		for _, fd := range fds {
			_ = unix.Close(fd) // it is ours
		}
	}
	clear(h)
	return names
}
