package namespaces

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watcher keeps what was present when its selection last changed.
type watcher struct {
	saw  chan string
	stop func()
}

// watchOver watches until stop or the end of the test.
func watchOver(t *testing.T, s *Selection) *watcher {
	t.Helper()
	w := &watcher{saw: make(chan string, 1)}
	stop, err := s.Watch(func() {
		select {
		case <-w.saw: // which is old by now
		default:
		}
		w.saw <- names(s.Present())
	})
	if err != nil {
		t.Fatal(err)
	}
	w.stop = stop
	return w
}

// await waits until just those were present.
func (w *watcher) await(t *testing.T, want string) {
	t.Helper()
	last := "nothing yet"
	for late := time.After(patience); ; {
		select {
		case last = <-w.saw:
			if last == want {
				return
			}
		case <-late:
			t.Fatalf("there was no call with %q present; the last had %q", want, last)
		}
	}
}

func TestWatch(t *testing.T) {
	red, blue := newNamespace(t), newNamespace(t)
	p, second := startProcess(t, red), startProcess(t, blue)
	w := watchOver(t, selected(t, "all", p.pid(), second.pid()))
	defer w.stop()
	both := p.pid() + " " + second.pid()
	for _, c := range []struct {
		name string
		do   func()
		want string
	}{
		{"a name of none that is selected", func() { bind(t, newNamespace(t), named("green")) }, both + " green host"},
		{"it is removed", func() { unbind(t, named("green")) }, both + " host"},
		{"a process ends", func() { second.end() }, p.pid() + " host"},
		{"a name after that", func() { bind(t, blue, named("blue")) }, p.pid() + " blue host"},
		{"the other process ends", func() { p.zombie(t) }, "blue host"},
		{"a name is moved", func() {
			if err := os.WriteFile(named("azure"), nil, 0o444); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount(named("blue"), named("azure"), "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			unbind(t, named("blue"))
		}, "azure host"},
		{"the last is removed", func() { unbind(t, named("azure")) }, "host"},
	} {
		t.Log(c.name)
		c.do()
		w.await(t, c.want)
	}
}

// TestWatchProcessEnded watches a process that has ended before.
func TestWatchProcessEnded(t *testing.T) {
	p := startProcess(t, newNamespace(t))
	s := selected(t, p.pid())
	p.end()
	w := watchOver(t, s)
	w.await(t, "")
	w.stop()
}

// TestWatchRounds misses none of many changes.
func TestWatchRounds(t *testing.T) {
	ns := newNamespace(t)
	w := watchOver(t, selected(t, "all"))
	defer w.stop()
	for i := range 100 {
		name := fmt.Sprintf("round%d", i)
		bind(t, ns, named(name))
		w.await(t, name+" host")
		unbind(t, named(name))
		w.await(t, "host")
	}
}

// TestWatchRests changes the mounts all the time beside somebody who takes long
// to look: he is not called again at once.
func TestWatchRests(t *testing.T) {
	const look, rounds = 5 * time.Millisecond, 10
	ns := newNamespace(t)
	calls := make(chan time.Time, 1000)
	stop, err := selected(t, "all").Watch(func() {
		start := time.Now()
		for time.Since(start) < look {
			runtime.Gosched()
		}
		calls <- start
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var last time.Time
	for n := 0; n < rounds; {
		bind(t, ns, named("busy"))
		unbind(t, named("busy"))
		select {
		case at := <-calls:
			if apart := at.Sub(last); apart < look*(1+restFactor) {
				t.Errorf("call %d is %v after the one before", n, apart)
			}
			last = at
			n++
		default:
		}
	}
}

// TestWatchStop stops watches, at rest and while there is something to tell.
func TestWatchStop(t *testing.T) {
	ns := newNamespace(t)
	p := startProcess(t, ns)
	s := selected(t, "all", p.pid())
	watchOver(t, s).stop() // whatever the runtime begins with the first
	before, goroutines := descriptors(t), runtime.NumGoroutine()
	for i := range 20 {
		w := watchOver(t, s)
		if i%2 == 1 {
			bind(t, ns, named("red"))
			unbind(t, named("red"))
		}
		w.stop()
		select {
		case <-w.saw: // of before
		default:
		}
		bind(t, ns, named("red"))
		unbind(t, named("red"))
		select {
		case saw := <-w.saw:
			t.Fatalf("a call after stop, with %q present", saw)
		default:
		}
	}
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors, before it was %d", now, before)
	}
	eventually(t, fmt.Sprintf("%d goroutines as before", goroutines), func() bool { return runtime.NumGoroutine() <= goroutines })
}
