package nfqueue

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// TestTaken opens a queue twice.
func TestTaken(t *testing.T) {
	ns := newNamespace(t)
	serve(t, ns, 3, func([]capture.Packet) {})
	_, err := openIn(t, ns, 3)
	if err == nil || !strings.HasPrefix(err.Error(), "queue 3: taken by process ") || !strings.Contains(err.Error(), "another queue number") {
		t.Fatalf("error %v", err)
	}
	// The second netlink socket of a process has no port that names the process.
	serve(t, ns, 4, func([]capture.Packet) {})
	_, err = openIn(t, ns, 4)
	if err == nil || !strings.HasPrefix(err.Error(), "queue 4: taken by netlink port ") {
		t.Errorf("error %v", err)
	}
}

// TestFewDescriptors opens a queue with too few descriptors. No queue stays.
func TestFewDescriptors(t *testing.T) {
	ns := newNamespace(t)
	var q *Queue
	lab.FewDescriptors(t, func() (err error) {
		q, err = openIn(t, ns, 3)
		return err
	}, func(err error) {
		if queues := ns.Queues(t); q != nil || len(queues) > 0 || !strings.HasPrefix(err.Error(), "queue 3: ") {
			t.Errorf("error %v; the queues are %v", err, queues)
		}
	})
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// TestNoPermission opens a queue on a thread without capabilities.
func TestNoPermission(t *testing.T) {
	ns := newNamespace(t)
	err := ns.Do(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			return os.NewSyscallError("capset", err)
		}
		q, err := Open(3, Options{})
		if err == nil {
			q.Close()
		}
		if !errors.Is(err, unix.EPERM) || !strings.HasPrefix(err.Error(), "queue 3: no permission: run as root, or with CAP_NET_ADMIN") {
			t.Errorf("error %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// flood sends datagrams to a port of the loopback device until stop is closed.
func flood(t testing.TB, ns *lab.Netns, stop <-chan struct{}) (wait func()) {
	c := listenIn(t, ns, "127.0.0.1:0")
	var wg sync.WaitGroup
	wg.Go(func() {
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sentinel}
		for {
			select {
			case <-stop:
				return
			default:
				c.WriteTo([]byte("flood"), to) // an error if the queue dropped it
			}
		}
	})
	return wg.Wait
}

// TestCloseDuringTraffic closes a queue while packets arrive, and opens it again.
// Close must release everything.
func TestCloseDuringTraffic(t *testing.T) {
	ns := newNamespace(t)
	ns.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 0")
	stop := make(chan struct{})
	wait := flood(t, ns, stop)
	defer wait()
	defer close(stop)
	open := -1
	for range 20 {
		if n := lab.Descriptors(t); open < 0 {
			open = n
		} else if n != open {
			t.Fatalf("%d descriptors are open, before the first queue it was %d", n, open)
		}
		q, err := openIn(t, ns, 0)
		if err != nil {
			t.Fatal(err)
		}
		some, done := make(chan struct{}), make(chan error, 1)
		var once sync.Once
		go func() {
			done <- q.Run(func(batch []capture.Packet) {
				for i := range batch {
					batch[i].Verdict = capture.Accept
				}
				once.Do(func() { close(some) })
			})
		}()
		<-some
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("Run did not return")
		}
		if err := q.Close(); err != nil {
			t.Fatalf("second Close: %v", err)
		}
	}
}

// TestOpenDuringTraffic opens a queue again and again while packets arrive, so that
// some come before Open returns. Each time decide must get the first packet.
func TestOpenDuringTraffic(t *testing.T) {
	ns := newNamespace(t)
	ns.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 0")
	stop := make(chan struct{})
	for range 2 {
		defer flood(t, ns, stop)()
	}
	defer close(stop)
	for i := range 100 {
		q, err := openIn(t, ns, 0)
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		first, done := make(chan uint32, 1), make(chan error, 1)
		var once sync.Once
		go func() {
			done <- q.Run(func(batch []capture.Packet) {
				once.Do(func() { first <- batch[0].ID })
			})
		}()
		if id := <-first; id != 1 { // nfqnl_enqueue_packet counts from 1
			t.Fatalf("round %d: the first packet is number %d", i, id)
		}
		if err := errors.Join(q.Close(), <-done); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

// TestCloseIdle closes queues that never had a packet, with and without Run.
func TestCloseIdle(t *testing.T) {
	ns := newNamespace(t)
	q, err := openIn(t, ns, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := q.Run(nil); err != nil {
		t.Fatalf("Run after Close: %v", err)
	}
	serve(t, ns, 0, func([]capture.Packet) {})
}

// TestCloseAtOnce opens and closes queues as fast as it can, on one processor and
// on two. Close must end Run, whatever Run is doing.
func TestCloseAtOnce(t *testing.T) {
	n := newNetwork(t)
	n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 3")
	parked := func(q *Queue) { awaitTurn(t, q, 2) }
	lingers := func(q *Queue) {
		from := listenIn(t, n.Client, "10.9.0.2:0")
		defer from.Close()
		if _, err := from.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP("10.9.0.1"), Port: 1000}); err != nil {
			t.Error(err)
		}
		for deadline := time.Now().Add(10 * time.Second); q.Stats().Packets == 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("no packet")
			}
		}
	}
	for _, c := range []struct {
		name       string
		processors int
		rounds     int
		before     func(*Queue)
	}{
		{"one processor", 1, 300, func(*Queue) {}},
		{"one processor, later", 1, 300, func(*Queue) { runtime.Gosched() }},
		{"one processor, parked", 1, 300, parked},
		{"one processor, lingering", 1, 100, lingers},
		{"two processors", 2, 300, func(*Queue) {}},
		{"two processors, later", 2, 300, func(*Queue) { runtime.Gosched() }},
		{"two processors, parked", 2, 300, parked},
		{"two processors, lingering", 2, 100, lingers},
		{"two processors, parked again", 2, 3, func(q *Queue) { lingers(q); awaitTurn(t, q, 4) }},
		{"garbage collection", 2, 50, func(*Queue) { runtime.GC() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(c.processors))
			for i := range c.rounds {
				q, err := openIn(t, n.Server, 3)
				if err != nil {
					t.Fatal(err)
				}
				ran, closed := make(chan error, 1), make(chan error, 1)
				go func() { ran <- q.Run(func([]capture.Packet) {}) }()
				c.before(q)
				go func() { closed <- q.Close() }()
				for what, end := range map[string]chan error{"Run": ran, "Close": closed} {
					select {
					case err := <-end:
						if err != nil {
							t.Fatalf("round %d: %s: %v", i, what, err)
						}
					case <-time.After(20 * time.Second):
						t.Fatalf("round %d: %s does not return", i, what)
					}
				}
			}
		})
	}
}

// awaitTurn waits until a queue's loop has reached a turn.
func awaitTurn(t *testing.T, q *Queue, turn uint64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); q.turns.Load() < turn; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("at turn %d, want %d", q.turns.Load(), turn)
		}
	}
}
