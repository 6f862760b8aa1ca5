package daemon

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"
)

const (
	// settled is after how many rounds all is as it stays.
	settled = 2
	rounds  = 12
	// moreThreads is how many there may be more after a round: Go's runtime
	// makes one whenever all are in system calls, and ends those that were in a
	// namespace, so that now there are some more and now some less. One that
	// is left in each round shows.
	moreThreads = rounds - settled - 2
)

// usage is what a process has of the kernel and of Go's runtime.
type usage struct{ goroutines, descriptors, mounts, threads int }

func used(t *testing.T) usage {
	t.Helper()
	count := func(dir string) int {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return usage{runtime.NumGoroutine(), count("/proc/self/fd"), bytes.Count(mounts, []byte("\n")), count("/proc/self/task")}
}

// exceeds says what is more than it was.
func (u usage) exceeds(before usage) error {
	if u.goroutines > before.goroutines || u.descriptors > before.descriptors || u.mounts > before.mounts || u.threads > before.threads+moreThreads {
		return fmt.Errorf("in use: %+v, before it was %+v", u, before)
	}
	return nil
}

// visitorNames are of ten namespaces.
func visitorNames() (names []string) {
	for i := range 10 {
		names = append(names, fmt.Sprint("visitor", i))
	}
	return names
}

// repeat does the same several times, and looks for what is left of it.
func repeat(t *testing.T, round func()) {
	t.Helper()
	var before usage
	for i := range rounds {
		round()
		if i < settled {
			before = used(t)
			continue
		}
		eventually(t, func() error { return used(t).exceeds(before) })
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
		eventually(t, func() error {
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
