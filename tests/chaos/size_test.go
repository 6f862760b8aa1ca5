package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// size is what a process has.
type size struct {
	descriptors, threads, mappings int
	memory                         int // KiB
}

func (s size) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d mappings, %d MiB", s.descriptors, s.threads, s.mappings, s.memory>>10)
}

// How much more a daemon may have after a case. Go ends no thread that it has once
// made, and makes one for each system call that blocks at the same time. Its heap is
// never the same twice. Cases do something a thousand times, or hold hundreds of
// something: a leak of one each shows.
const (
	moreDescriptors = 2 // a request of the control socket may be under way
	moreThreads     = 24
	moreMappings    = 60
	moreMemory      = 12 << 10 // KiB
)

// measure measures the daemon.
func (w *world) measure() size {
	w.Helper()
	w.collect()
	return w.look()
}

// collect has the daemon collect its garbage: it does so when a mount of its own ends
// (Conn.end), and then mounts again.
func (w *world) collect() {
	w.Helper()
	module := w.d.Mount + ".module"
	for range 2 { // a sync.Pool is empty after the second one
		lab.Eventually(w, "umount "+module, func() error { return unix.Unmount(module, unix.MNT_DETACH) })
		lab.Eventually(w, "it is mounted again", func() error {
			_, err := os.ReadFile(filepath.Join(module, "parameters/ip_list_tot"))
			return err
		})
	}
}

// look measures the daemon as it is.
func (w *world) look() (s size) {
	w.Helper()
	s.descriptors = w.d.Descriptors()
	status, err := os.ReadFile("/proc/" + w.d.PID() + "/status")
	if err != nil {
		w.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		for format, at := range map[string]*int{"Threads: %d": &s.threads, "RssAnon: %d": &s.memory} {
			if strings.HasPrefix(line, format[:4]) {
				if _, err := fmt.Sscanf(line, format, at); err != nil {
					w.Fatalf("%q: %v", line, err)
				}
			}
		}
	}
	maps, err := os.ReadFile("/proc/" + w.d.PID() + "/maps")
	if err != nil {
		w.Fatal(err)
	}
	s.mappings = strings.Count(string(maps), "\n")
	return s
}

// notGrown waits until the daemon is about as large as before.
func (w *world) notGrown() {
	w.Helper()
	var last time.Time
	lab.Eventually(w, "the daemon is as large as before", func() error {
		if time.Since(last) > time.Second {
			last = time.Now()
			w.collect()
		}
		b, now := w.before, w.look()
		if now.descriptors > b.descriptors+moreDescriptors || now.threads > b.threads+moreThreads ||
			now.mappings > b.mappings+moreMappings || now.memory > b.memory+moreMemory {
			return fmt.Errorf("it has %v, and had %v", now, b)
		}
		return nil
	})
	w.Logf("the daemon has %v", w.look())
}
