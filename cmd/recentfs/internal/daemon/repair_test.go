package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/capture/nfqueue"
	"recentfs/namespaces"
	"recentfs/tests/lab"
)

// breakQueues puts another file in the place of each netfilter socket of this
// process. The loop of a queue finds out with its next packet, and what holds the
// queue in the kernel is gone.
func breakQueues(t *testing.T) (broken int) {
	t.Helper()
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if domain != unix.AF_NETLINK || protocol != unix.NETLINK_NETFILTER {
			continue
		}
		if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		broken++
	}
	return broken
}

// awaitBroken waits until the loops of all queues have ended. Server.mu is held.
func (s *Server) awaitBroken(t *testing.T) {
	t.Helper()
	for _, i := range s.instances {
		for n, q := range i.queues {
			select {
			case <-q.done:
			case <-time.After(lab.Patience):
				t.Fatalf("%s: the loop of queue %d goes on", i.name, n)
			}
		}
	}
}

// TestQueuesAreMended breaks the queues of two namespaces while packets flow. Each
// comes up again, tables and mounts stay, and nothing is left behind.
func TestQueuesAreMended(t *testing.T) {
	names := visitorNames()[:2]
	vs := invite(t, names)
	var log lab.Output
	s := newConfig(t, names, seenRules).start(t, &log)
	vs.await(t, s)
	descriptors := lab.Descriptors(t)
	for round := range 4 {
		if n := breakQueues(t); n != len(names) {
			t.Fatalf("round %d: %d queues were broken", round, n)
		}
		vs.await(t, s)
	}
	lab.Eventually(t, "no descriptor is left", func() error {
		if now := lab.Descriptors(t); now > descriptors { // one may have been open for a moment
			return fmt.Errorf("%d are open, and were %d", now, descriptors)
		}
		return nil
	})
	for _, name := range names {
		want := "network namespace " + name + `: queue 0: receive: socket operation on non-socket: its socket has failed; the queue is closed and bound again`
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%q was said %d times, want once:\n%s", want, n, &log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != len(names) {
		t.Errorf("it says:\n%s", &log)
	}
	vs.leave(t)
}

// TestQueueTakenMeanwhile breaks a queue, and another program takes it. It comes
// up again by itself or by a reload, once it is free. A reload may do without it.
func TestQueueTakenMeanwhile(t *testing.T) {
	const free, reload, without = "it gets free", "it gets free, and a reload binds it", "a reload does without it"
	for _, way := range []string{free, reload, without} {
		t.Run(way, func(t *testing.T) {
			vs := invite(t, []string{"visitor"})
			ns, err := namespaces.Open(filepath.Join(lab.NetnsDir, "visitor"))
			if err != nil {
				t.Fatal(err)
			}
			defer ns.Close()
			var log lab.Output
			c := newConfig(t, []string{"visitor"}, seenRules)
			s := c.start(t, &log)
			vs.await(t, s)
			var other *nfqueue.Queue
			func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				breakQueues(t)
				s.awaitBroken(t)
				if err := ns.Do(func() (err error) { other, err = openQueue(0, nfqueue.Options{}); return err }); err != nil {
					t.Fatal(err)
				}
			}()
			defer other.Close()
			const said = "queue 0: taken by process "
			lab.Eventually(t, "it says that the queue is taken", func() error {
				if !strings.Contains(log.String(), said) {
					return errors.New(log.String())
				}
				return nil
			})
			if err := s.Reload(io.Discard); err == nil || !strings.Contains(err.Error(), said) {
				t.Errorf("a reload: %v", err)
			}
			if out, err := inMount(s, "grep", "-q", "127.0.0.1", "ns/visitor/seen"); err != nil {
				t.Errorf("the table has lost the address: %v: %s", err, out)
			}
			if way == without {
				write(t, c.Rules, strings.ReplaceAll(seenRules, "QUEUE0", "QUEUE1"))
				if err := s.Reload(io.Discard); err != nil {
					t.Fatal(err)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				for _, i := range s.instances {
					if len(i.repairs) > 0 || len(i.queues) != 1 {
						t.Errorf("%d queues, and %d to mend", len(i.queues), len(i.repairs))
					}
				}
				return
			}
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			if way == reload {
				if err := s.Reload(io.Discard); err != nil {
					t.Fatal(err)
				}
			}
			vs.await(t, s)
			if n := strings.Count(log.String(), said); n != 1 {
				t.Errorf("it was said %d times:\n%s", n, &log)
			}
		})
	}
}
