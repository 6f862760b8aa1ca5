package nfqueue

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// queueState is a line of the kernel's list of queues: seq_show of
// nfnetlink_queue.c.
type queueState struct {
	portid     uint32
	waiting    uint32 // queue_total
	full, lost uint32 // queue_dropped, queue_user_dropped
}

// openList opens the list of queues of a network namespace. The file keeps
// showing that namespace, whoever reads it.
func openList(netns int) (*os.File, error) {
	const list = "/proc/thread-self/net/netfilter/nfnetlink_queue"
	if netns == 0 {
		return os.Open(list)
	}
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the thread, being in another namespace, ends with
		// the goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
			done <- result{nil, os.NewSyscallError("setns", err)}
			return
		}
		f, err := os.Open(list)
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

// findQueue looks for a queue in the list, read from its start.
func findQueue(list io.ReaderAt, number uint16) (queueState, bool) {
	text, err := io.ReadAll(io.NewSectionReader(list, 0, 1<<30))
	if err != nil {
		return queueState{}, false
	}
	for line := range bytes.Lines(text) {
		var v [7]uint32
		fields := bytes.Fields(line)
		if len(fields) < len(v) {
			continue
		}
		for i := range v {
			n, err := strconv.ParseUint(string(fields[i]), 10, 32)
			if err != nil {
				return queueState{}, false
			}
			v[i] = uint32(n)
		}
		if v[0] == uint32(number) {
			return queueState{portid: v[1], waiting: v[2], full: v[5], lost: v[6]}, true
		}
	}
	return queueState{}, false
}
