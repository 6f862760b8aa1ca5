package namespaces

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// watcher keeps the names that were present at the last call of Watch.
type watcher struct {
	saw  chan string
	stop func()
}

// watchOver watches a selection until stop.
func watchOver(t *testing.T, s *Selection) *watcher {
	t.Helper()
	w := &watcher{saw: make(chan string, 1)}
	stop, err := s.Watch(func() {
		select {
		case <-w.saw: // replaced by the newer names
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

// await waits for a call with exactly these names present.
func (w *watcher) await(t *testing.T, want string) {
	t.Helper()
	last := "nothing yet"
	for late := time.After(lab.Patience); ; {
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
		{"a name of another namespace", func() { bind(t, newNamespace(t), named("green")) }, both + " green host"},
		{"that name is removed", func() { unbind(t, named("green")) }, both + " host"},
		{"a process ends", func() { second.end() }, p.pid() + " host"},
		{"a name after the end of a process", func() { bind(t, blue, named("blue")) }, p.pid() + " blue host"},
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
		{"the last name is removed", func() { unbind(t, named("azure")) }, "host"},
	} {
		t.Log(c.name)
		c.do()
		w.await(t, c.want)
	}
}

// TestWatchProcessEnded starts to watch after the process has ended.
func TestWatchProcessEnded(t *testing.T) {
	p := startProcess(t, newNamespace(t))
	s := selected(t, p.pid())
	p.end()
	w := watchOver(t, s)
	w.await(t, "")
	w.stop()
}

// TestWatchRounds makes many changes. Watch must report each.
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

// TestWatchRests changes the mounts all the time, while each call of changed takes
// long. Watch must wait before it calls again.
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

// TestRest sends signals to a thread all the time that it rests.
func TestRest(t *testing.T) {
	const length = 50 * time.Millisecond
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	for _, c := range []struct {
		name   string
		length time.Duration // of the rest
		wake   bool          // make the descriptor readable during the rest
	}{
		{"until the time is over", length, false},
		{"until the descriptor is readable", time.Hour, true},
		{"no time", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			thread, lasted := make(chan int), make(chan time.Duration, 1)
			go func() {
				runtime.LockOSThread() // never unlocked: the thread ends
				thread <- unix.Gettid()
				start := time.Now()
				rest([]unix.PollFd{{Fd: int32(event), Events: unix.POLLIN}}, c.length)
				lasted <- time.Since(start)
			}()
			tid := <-thread
			for n := 0; ; n++ {
				select {
				case d := <-lasted:
					if !c.wake && d < c.length {
						t.Errorf("the rest lasted %v, want %v", d, c.length)
					}
					return
				default:
					// The thread may have ended. SIGURG is what Go's runtime sends.
					_ = unix.Tgkill(unix.Getpid(), tid, unix.SIGURG)
				}
				if c.wake && n == 100 {
					one := [8]byte{7: 1}
					if _, err := unix.Write(event, one[:]); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// TestWatchStop stops idle watches, and watches with a change to report.
func TestWatchStop(t *testing.T) {
	ns := newNamespace(t)
	p := startProcess(t, ns)
	s := selected(t, "all", p.pid())
	watchOver(t, s).stop() // starts what the runtime keeps from then on
	before, goroutines := lab.Descriptors(t), runtime.NumGoroutine()
	for i := range 20 {
		w := watchOver(t, s)
		if i%2 == 1 {
			bind(t, ns, named("red"))
			unbind(t, named("red"))
		}
		w.stop()
		select {
		case <-w.saw: // a call before stop
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
	if now := lab.Descriptors(t); now != before {
		t.Errorf("%d descriptors are open, before it was %d", now, before)
	}
	lab.Eventually(t, "as many goroutines as before", func() error {
		if n := runtime.NumGoroutine(); n > goroutines {
			return fmt.Errorf("there are %d, before there were %d", n, goroutines)
		}
		return nil
	})
}
