package namespaces

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch calls changed, always from the same goroutine, whenever the result of
// Present may have changed, until stop returns. It may call without a change, and
// once for several changes.
//
// A namespace gets or loses a name by mount(2) or umount(2). The kernel reports
// both to a poll of the list of mounts (mounts_poll in fs/proc_namespace.c). A
// pidfd reports the end of its process (pidfd_poll).
func (s *Selection) Watch(changed func()) (stop func(), err error) {
	// Not os.Open: it adds the file to Go's own poller, which would then consume
	// the events (mounts_poll reports each one once).
	const list = "/proc/self/mountinfo"
	mounts, err := unix.Open(list, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watch for network namespaces: %w", &os.PathError{Op: "open", Path: list, Err: err})
	}
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(mounts)
		return nil, fmt.Errorf("watch for network namespaces: eventfd: %w", err)
	}
	fds := []unix.PollFd{{Fd: int32(end), Events: unix.POLLIN}, {Fd: int32(mounts), Events: unix.POLLPRI}}
	for _, p := range s.places {
		if p.process != nil {
			fds = append(fds, unix.PollFd{Fd: int32(p.process.Fd()), Events: unix.POLLIN})
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch(fds, changed)
	}()
	return func() {
		one := [8]byte{7: 1}
		_, _ = unix.Write(end, one[:]) // eight bytes to a counter at 0 cannot fail
		<-done
		unix.Close(mounts)
		unix.Close(end)
	}, nil
}

// A call of changed is followed by a rest that lasts restFactor times as long as
// the call did, but not longer than longestRest. Without it, a script that mounts
// a thousand file systems would cause a thousand calls.
const (
	restFactor  = 4
	longestRest = 100 * time.Millisecond
)

// watch polls until the first descriptor, the end of the watch, is readable.
func watch(fds []unix.PollFd, changed func()) {
	for {
		if _, err := unix.Poll(fds, -1); err != nil {
			if !errors.Is(err, unix.EINTR) {
				time.Sleep(100 * time.Millisecond) // ENOMEM
			}
			continue
		}
		if fds[0].Revents != 0 {
			return
		}
		// The pidfd of a process that has ended stays readable: poll it no more.
		for i := 2; i < len(fds); i++ {
			if fds[i].Revents != 0 {
				fds[i].Fd = -1
			}
		}
		start := time.Now()
		changed()
		rest(fds[:1], min(restFactor*time.Since(start), longestRest))
	}
}

// rest waits for a duration, or until a descriptor is readable. Go's runtime
// sends signals to its threads (SIGURG), and each one ends a ppoll(2): rest then
// waits for the time that is left.
func rest(fds []unix.PollFd, length time.Duration) {
	start := time.Now()
	for left := length; left > 0; left = length - time.Since(start) {
		timeout := unix.NsecToTimespec(int64(left))
		if _, err := unix.Ppoll(fds, &timeout, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
