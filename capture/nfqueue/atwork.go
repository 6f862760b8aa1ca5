package nfqueue

import "golang.org/x/sys/unix"

// AtWork yields what the queue's loop has to do now, if it has something to do, and a
// number. As long as the loop is at the same batch, or takes none of the packets that
// wait, the number stays. So who finds the same again and again knows that the loop
// hangs. It waits for nothing, and may be called at any time by any goroutine.
func (q *Queue) AtWork(yield func(what string, number uint64) bool) {
	round := q.rounds.Load()
	if round%2 != 0 {
		yield("the same packets are under decision", round)
		return
	}
	q.looking.Lock()
	waits := !q.closed.Load() && isReadable(q.fd)
	q.looking.Unlock()
	if waits {
		yield("packets wait, and its loop does not take them", round)
	}
}

// isReadable tells whether there is something to receive.
func isReadable(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents&unix.POLLIN != 0
}
