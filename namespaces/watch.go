package namespaces

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch calls changed whenever something may have changed in what Present
// returns, from one goroutine, until stop has returned. A call may come for no
// reason, and one for several changes.
//
// A namespace gets or loses a name by mount(2) or umount(2), and the kernel
// tells who polls the list of mounts of each (mounts_poll of
// fs/proc_namespace.c). The end of a process is told by its pidfd.
func (s *Selection) Watch(changed func()) (stop func(), err error) {
	// Not by os.Open, for Go's own poller would be told in our place.
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
		_, _ = unix.Write(end, one[:]) // of eight bytes, to a counter at 0: it cannot fail
		<-done
		unix.Close(mounts)
		unix.Close(end)
	}, nil
}

// Somebody who mounts a thousand things one by one has all names looked at a
// thousand times, unless a look is followed by a rest: restFactor times as long
// as the look took, and longestRest at most.
const (
	restFactor  = 4
	longestRest = 100 * time.Millisecond
)

// watch polls until the first descriptor is readable.
func watch(fds []unix.PollFd, changed func()) {
	for {
		if _, err := unix.Poll(fds, -1); err != nil {
			if !errors.Is(err, unix.EINTR) {
				time.Sleep(100 * time.Millisecond) // no memory
			}
			continue
		}
		if fds[0].Revents != 0 {
			return
		}
		// A process that has ended stays readable: it is not asked for again.
		for i := 2; i < len(fds); i++ {
			if fds[i].Revents != 0 {
				fds[i].Fd = -1
			}
		}
		start := time.Now()
		changed()
		rest := unix.NsecToTimespec(int64(min(restFactor*time.Since(start), longestRest)))
		_, _ = unix.Ppoll(fds[:1], &rest, nil) // cut short by the end, or by a signal
	}
}
