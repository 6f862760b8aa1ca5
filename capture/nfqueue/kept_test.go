package nfqueue

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

var testNotes = Notes{Size: 5000, Version: 3}

// openKept opens a queue inside the namespace that outlives its process.
func openKept(t testing.TB, ns *lab.Netns, number uint16) (q *Queue) {
	t.Helper()
	err := ns.Do(func() (err error) {
		q, err = OpenKept(number, Options{}, testNotes)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// heldFiles are descriptors of a queue that somebody else holds.
type heldFiles struct{ socket, memory int }

func hold(t testing.TB, q *Queue) (h heldFiles) {
	t.Helper()
	socket, memory := q.Files()
	return heldFiles{duplicateOf(t, socket), duplicateOf(t, memory)}
}

func duplicateOf(t testing.TB, fd int) int {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return dup
}

// adoptIn goes on with a queue inside the namespace.
func adoptIn(ns *lab.Netns, number uint16, h heldFiles, notes Notes) (q *Queue, left Left, err error) {
	err = ns.Do(func() (err error) {
		q, left, err = Adopt(number, Options{}, h.socket, h.memory, notes)
		return err
	})
	return q, left, err
}

// TestLeave hands a queue on, again and again, while packets arrive. Each comes to
// decide once.
func TestLeave(t *testing.T) {
	for _, c := range []struct {
		name       string
		processors int
		rounds     int
		idle       bool
	}{{"two processors", 2, 30, false}, {"one processor", 1, 10, false}, {"parked", 2, 30, true}} {
		t.Run(c.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(c.processors))
			ns := newNamespace(t)
			ns.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 0")
			stop, wait := make(chan struct{}), func() {}
			if !c.idle {
				wait = flood(t, ns, stop)
			}
			var last atomic.Uint32
			decide := func(batch []capture.Packet) {
				for i := range batch {
					batch[i].Verdict = capture.Accept
					if before := last.Swap(batch[i].ID); batch[i].ID != before+1 {
						t.Errorf("packet %d comes after %d", batch[i].ID, before)
					}
				}
			}
			open := lab.Descriptors(t)
			q := openKept(t, ns, 0)
			for round := range c.rounds {
				done := make(chan error, 1)
				go func() { done <- q.Run(decide) }()
				if c.idle {
					awaitTurn(t, q, 2)
				} else {
					some := last.Load() + 1000
					lab.Eventually(t, "packets", func() error {
						if last.Load() < some {
							return fmt.Errorf("only %d", last.Load())
						}
						return nil
					})
				}
				h := hold(t, q)
				if err := q.Leave(); err != nil {
					t.Fatal(err)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if s := q.Stats(); s.Malformed+s.Refused+s.Unsent+s.Overruns > 0 {
					t.Errorf("round %d: stats %+v", round, s)
				}
				var left Left
				var err error
				if q, left, err = adoptIn(ns, 0, h, testNotes); err != nil {
					t.Fatal(err)
				}
				if left != (Left{}) {
					t.Errorf("round %d: it left %+v", round, left)
				}
				if err := q.Finish(decide); err != nil {
					t.Fatal(err)
				}
			}
			close(stop)
			wait()
			if k, ok := q.queues.find(0); !ok || k.lost > 0 {
				t.Errorf("the kernel says %+v", k)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
			if now := lab.Descriptors(t); now != open {
				t.Errorf("%d descriptors are open, and %d were", now, open)
			}
		})
	}
}

// TestLeaveForGood: a queue that nobody else holds ends.
func TestLeaveForGood(t *testing.T) {
	ns := newNamespace(t)
	open := lab.Descriptors(t)
	for _, kept := range []bool{false, true} {
		var q *Queue
		var err error
		if kept {
			q = openKept(t, ns, 3)
		} else if q, err = openIn(t, ns, 3); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- q.Run(nil) }()
		if err := q.Leave(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := q.Leave(); err != nil {
			t.Errorf("again: %v", err)
		}
		if queues := ns.Queues(t); len(queues) > 0 {
			t.Errorf("the queues are %v", queues)
		}
		if now := lab.Descriptors(t); now != open {
			t.Errorf("%d descriptors are open, and %d were", now, open)
		}
	}
}

// TestNotes: what is noted is there for the next process.
func TestNotes(t *testing.T) {
	ns := newNamespace(t)
	q := openKept(t, ns, 3)
	b := q.Notes()
	if len(b) != testNotes.Size || slices.Max(b) != 0 || uintptr(unsafe.Pointer(&b[0]))%4096 != 0 {
		t.Errorf("%d bytes at %p", len(b), b)
	}
	copy(b, "noted")
	h := hold(t, q)
	if err := q.Leave(); err != nil {
		t.Fatal(err)
	}
	next, left, err := adoptIn(ns, 3, h, testNotes)
	if err != nil || left != (Left{}) {
		t.Fatal(left, err)
	}
	if got := next.Notes(); string(got[:6]) != "noted\x00" || len(got) != testNotes.Size {
		t.Errorf("%d bytes, %q", len(got), got[:6])
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	plain, err := openIn(t, ns, 3)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Notes() != nil {
		t.Error("a queue that ends with its process has notes")
	}
	if err := plain.Close(); err != nil {
		t.Error(err)
	}
}

// clearedEnv makes a child process clear an inbox: TestClear.
const clearedEnv = "RECENTFS_TEST_CLEARED"

// cleared is the child.
func cleared() {
	b, err := unix.Mmap(3, 0, int(unsafe.Sizeof(inbox{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	in := (*inbox)(unsafe.Pointer(&b[0]))
	for i := range 5 {
		in.heads[i].len = 100
	}
	lab.StopStepped()
	in.clear(5)
	lab.StopStepped()
}

// TestClear kills a process after each instruction of clear, as it were: no message is
// left after the first that is gone. It would seem to belong to the next batch.
func TestClear(t *testing.T) {
	file, b := lab.MemoryFile(t, int(unsafe.Sizeof(inbox{})))
	in := (*inbox)(unsafe.Pointer(&b[0]))
	left := []int{}
	look := func() {
		n := in.received()
		for i := n; i < batchSize; i++ {
			if in.heads[i].len != 0 {
				t.Fatalf("message %d is left, and message %d is gone", i, n)
			}
		}
		if len(left) == 0 || left[len(left)-1] != n {
			left = append(left, n)
		}
	}
	lab.Step(t, clearedEnv+"=yes", []*os.File{file}, look, look)
	if !slices.Equal(left, []int{5, 4, 3, 2, 1, 0}) {
		t.Errorf("one after the other, %v messages were left", left)
	}
}
