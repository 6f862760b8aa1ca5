package fs

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/fs/device"
)

// repeats tells the reads of io_uring at a file's position (offset -1) from
// others. They must move the position, and Linux 6.18 does not: its
// fuse_direct_read_iter leaves them to fuse_direct_IO, which moves nothing. So the
// next one comes with the same offset, as does a read at that very offset, which
// must read the same again. No request says which of the two it is.
//
//   - Where the kernel's thread that polls an io_uring (IORING_SETUP_SQPOLL) has
//     opened the file itself, as for Node.js, and its first reads come soon one
//     after the other and all at one offset, it reads at the position.
//   - Any other read is taken to name its offset. A reader at the position would
//     never end then. So one of very many such reads in a row fails.
type repeats struct {
	opener  uint32  // the thread that opened the file, or 0 where we do not see it
	goingOn trilean // whether the opener reads at the position
	off     int64   // where the last request read
	size    int64   // how much it asked for
	at      int64   // when, as by UnixNano; 0: there was none
	count   int64   // how many requests in a row read something there, each soon after the one before
}

// trilean is a bool that may not be known yet.
type trilean int8

const (
	unknown trilean = iota
	no
	yes
)

const (
	// soon is how long after a read its reader asks for the next part. A program that
	// looks at a table again and again mostly waits longer.
	soon = time.Second
	// repeatLimit is how many reads in a row may be for one offset before we look at
	// the thread that asks. A reader that does not end has read 240 MB by then, or less.
	repeatLimit = 10000
)

// place is where a read is in the file.
type place int8

const (
	atOffset   place = iota // where its request says
	atPosition              // after the read before it
	// The read may be a further piece of one that is longer than MaxRead. The kernel
	// sends all pieces at once, and we may meet this one before the first. It throws
	// this one away unless the first was answered to its last byte, which no answer
	// is. So it says nothing about the position.
	furtherPiece
)

// nearlyMaxRead is less than the distance from one piece to the next. That is MaxRead,
// or a part of a page less if the buffer does not begin with a page.
const nearlyMaxRead = device.MaxRead / 2

// place tells where a read is that comes with an offset. The error ends a reader
// that would not end otherwise: it cannot move the position.
func (r *repeats) place(off int64, thread uint32) (place, error) {
	again := off == r.off && r.count > 0
	if thread == r.opener && r.goingOn != no {
		switch {
		case off >= r.off+nearlyMaxRead && (r.size >= nearlyMaxRead || r.at == 0):
			if r.goingOn == yes || polls(thread) {
				return furtherPiece, nil
			}
			r.goingOn = no
		case r.goingOn == unknown && off != r.off:
			r.goingOn = no
		case r.goingOn == unknown && again:
			r.goingOn = no
			if r.soonAfter(time.Now().UnixNano()) && polls(thread) {
				r.goingOn = yes
			}
		}
		if r.goingOn == yes && again {
			return atPosition, nil
		}
	}
	// A thread that uses a ring may do something else at the moment. So each 16th of
	// further reads is looked at.
	if again && r.count >= repeatLimit && r.count%16 == 0 && usesRing(thread) {
		r.count = 0
		return atOffset, unix.ESPIPE
	}
	return atOffset, nil
}

// note remembers a read that was asked for size bytes and got n.
func (r *repeats) note(off int64, size, n int) {
	now := time.Now().UnixNano()
	switch {
	case n == 0:
		r.count = 0
	case r.count > 0 && r.off == off && r.soonAfter(now):
		r.count++
	default:
		r.count = 1
	}
	r.off, r.size, r.at = off, int64(size), now
}

func (r *repeats) soonAfter(now int64) bool { return now-r.at < int64(soon) }

// The kernel's threads of an io_uring: io_sq_thread and io_wq_worker.
const (
	pollingThread = "iou-sqp-"
	workerThread  = "iou-wrk-"
)

// polls tells whether a thread is the kernel's that polls an io_uring.
func polls(thread uint32) bool { return strings.HasPrefix(procLine(thread, "comm"), pollingThread) }

// usesRing tells whether a thread reads for an io_uring. One that waits in read(2)
// or pread(2) does not.
func usesRing(thread uint32) bool {
	comm := procLine(thread, "comm")
	return strings.HasPrefix(comm, pollingThread) || strings.HasPrefix(comm, workerThread) ||
		strings.HasPrefix(procLine(thread, "syscall"), fmt.Sprint(unix.SYS_IO_URING_ENTER, " "))
}

// procLine is a file of a thread in /proc. It is empty for a thread that we do not
// see.
func procLine(thread uint32, file string) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", thread, file))
	return string(line)
}
