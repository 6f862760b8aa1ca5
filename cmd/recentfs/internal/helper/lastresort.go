package helper

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"recentfs/fs"
)

const (
	// dyingEvery is how often to look whether a process is killed.
	dyingEvery = 2 * time.Second
	// dyingLooks is in how many looks, one after the other, a process is killed and does
	// not end, before it is taken for one that cannot.
	dyingLooks = 3
)

// awaitEnd waits until a process has left. A process with a thread that waits for its own
// mount cannot be killed. recentfs does not do that to itself, but what must not happen
// is worth a last resort: the connections of the mounts are ended, and the process with
// them.
func (s *server) awaitEnd(pid int, left <-chan struct{}) {
	tick := time.NewTicker(dyingEvery)
	defer tick.Stop()
	for looks := 0; ; {
		select {
		case <-left:
			return
		case <-tick.C:
		}
		if looks++; !isKilled(pid) {
			looks = 0
		}
		if looks < dyingLooks {
			continue
		}
		looks = 0
		logrus.Errorf("process %d was killed and does not end: the connections of its mounts are ended", pid)
		for _, dir := range s.dirs {
			if err := fs.Abort(dir); err != nil {
				logrus.Error(err)
			}
		}
	}
}

// isKilled tells whether a thread of a process has yet to meet SIGKILL.
func isKilled(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid)) // the pattern is a good one
	for _, thread := range threads {
		text, _ := os.ReadFile(thread) // a thread may have ended
		for line := range strings.Lines(string(text)) {
			pending, ok := strings.CutPrefix(line, "SigPnd:")
			if !ok {
				continue
			}
			if set, err := strconv.ParseUint(strings.TrimSpace(pending), 16, 64); err == nil && set&(1<<(unix.SIGKILL-1)) != 0 {
				return true
			}
		}
	}
	return false
}
