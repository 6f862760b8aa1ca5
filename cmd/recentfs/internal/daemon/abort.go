package daemon

import (
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"recentfs/cmd/recentfs/internal/handover"
	"recentfs/fs"
)

// Abort ends the mounts of a process that cannot be killed, since a thread of it waits
// for an answer of its own. Its queues go on in the next process. The descriptors stay
// the caller's.
func Abort(held handover.Held) {
	for _, name := range []string{tablesMount, moduleMount} {
		if len(held[name]) == 0 {
			continue
		}
		var copies []int
		for _, fd := range held[name] {
			if copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
				copies = append(copies, copied)
			}
		}
		if err := fs.AbortLeft(asFiles(name, copies)); err != nil {
			logrus.Warnf("%s: %v", name, err)
		}
	}
}
