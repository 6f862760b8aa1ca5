package daemon

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

const (
	// settled is the number of rounds after which nothing grows any more.
	settled = 2
	rounds  = 12
	// moreThreads is how many more threads there may be after a round: Go's
	// runtime makes a thread when all are in system calls, and ends those that
	// were in a namespace, so that their number goes up and down. A thread that
	// is left in each round shows.
	moreThreads = rounds - settled - 2
)

// usage is what a process holds of the kernel and of Go's runtime. Gigabytes are
// of its address space: the race detector and Go's runtime need more and more of
// that, but not as much as a table of tableSize addresses.
type usage struct{ goroutines, descriptors, mounts, threads, gigabytes int }

const tableSize = 1 << 24

func used(t *testing.T) usage {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var pages int
	if _, err := fmt.Sscan(string(statm), &pages); err != nil {
		t.Fatal(err)
	}
	return usage{runtime.NumGoroutine(), lab.Descriptors(t), bytes.Count(mounts, []byte("\n")), len(threads), pages * os.Getpagesize() >> 30}
}

// exceeds reports what is more than before.
func (u usage) exceeds(before usage) error {
	if u.goroutines > before.goroutines || u.descriptors > before.descriptors || u.mounts > before.mounts || u.threads > before.threads+moreThreads || u.gigabytes > before.gigabytes+1 {
		return fmt.Errorf("in use: %+v, before: %+v", u, before)
	}
	return nil
}

// visitorNames are the names of ten namespaces.
func visitorNames() (names []string) {
	for i := range 10 {
		names = append(names, fmt.Sprint("visitor", i))
	}
	return names
}

// repeat repeats a round and looks for what the rounds leave behind.
func repeat(t *testing.T, round func()) {
	t.Helper()
	var before usage
	for i := range rounds {
		round()
		if i < settled {
			before = used(t)
			continue
		}
		lab.Eventually(t, "nothing is left", func() error { return used(t).exceeds(before) })
	}
	t.Logf("after %d rounds %+v, after %d %+v", settled, before, rounds, used(t))
}

// TestNamespacesLeaveNothing deletes namespaces while packets flow in them.
func TestNamespacesLeaveNothing(t *testing.T) {
	names := visitorNames()
	first := invite(t, names) // --netns wants them there at the start
	s := newServer(t, names)
	part := func(vs *visitors) {
		vs.await(t, s)
		vs.leave(t)
		lab.Eventually(t, "the namespaces are let go", func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := len(s.instances); n > 0 {
				return fmt.Errorf("%d namespaces are still served", n)
			}
			return nil
		})
		if folders, err := inMount(s, "ls", "ns"); err != nil || len(folders) > 0 {
			t.Errorf("the folders are %s, %v", folders, err)
		}
		vs.end()
	}
	part(first)
	repeat(t, func() { part(invite(t, names)) })
}

// TestServerLeavesNothing stops a server while packets flow.
func TestServerLeavesNothing(t *testing.T) {
	names := visitorNames()
	vs := invite(t, names)
	repeat(t, func() {
		t.Run("server", func(t *testing.T) { vs.await(t, newServer(t, names)) })
	})
	vs.leave(t)
}

// TestReloadsLeaveNothing reloads rules while packets flow. Tables, queues and logs
// come and go with the rules.
func TestReloadsLeaveNothing(t *testing.T) {
	names := visitorNames()[:2]
	vs := invite(t, names)
	c := newConfig(t, names, seenRules)
	c.Params.ListTot = tableSize
	s := c.start(t, io.Discard)
	n := 0
	more := func() string {
		n++ // so that a table that stays shows
		return strings.Replace(seenRules, "COMMIT\n", fmt.Sprintf(`:QUEUE1-2 ACCEPT [0:0]
-A QUEUE0 -j LOG
-A QUEUE0 -m recent --rcheck --name more%d
COMMIT
`, n), 1)
	}
	repeat(t, func() {
		for range 5 {
			for _, text := range []string{more(), seenRules} {
				write(t, c.Rules, text)
				if err := s.Reload(io.Discard); err != nil {
					t.Fatal(err)
				}
				vs.await(t, s)
			}
		}
	})
	vs.leave(t)
}
