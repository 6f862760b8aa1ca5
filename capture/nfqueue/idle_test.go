package nfqueue

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// held is what this process holds in the kernel and in Go's runtime.
type held struct{ threads, resident, descriptors, goroutines int }

func holds(t *testing.T) (h held) {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "Threads: %d", &h.threads)
		fmt.Sscanf(line, "VmRSS: %d kB", &h.resident)
	}
	h.descriptors, h.goroutines = lab.Descriptors(t), runtime.NumGoroutine()
	return h
}

// TestIdle opens many queues. Without packets they cost no threads, and after some
// packets they cost few; closed queues leave nothing.
func TestIdle(t *testing.T) {
	t.Run("open", func(t *testing.T) {
		testIdle(t, 2, func(number uint16) (*Queue, error) { return Open(number, Options{}) })
	})
	t.Run("kept", func(t *testing.T) {
		testIdle(t, 3, func(number uint16) (*Queue, error) { return OpenKept(number, Options{}, testNotes) })
	})
}

func testIdle(t *testing.T, descriptors int, open func(uint16) (*Queue, error)) {
	const queues = 500
	ns := newNamespace(t)
	ns.Sh(t, fmt.Sprintf("iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-balance 0:%d", queues-1))
	all, done := make([]*Queue, queues), make(chan error, queues)
	before := holds(t)
	err := ns.Do(func() (err error) {
		for i := range all {
			if all[i], err = open(uint16(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range all {
		go func() {
			done <- q.Run(func(batch []capture.Packet) {
				for i := range batch {
					batch[i].Verdict = capture.Drop
				}
			})
		}()
	}
	for _, q := range all {
		awaitTurn(t, q, 2)
	}
	idle := holds(t)
	t.Logf("%d idle queues: %+v, before %+v", queues, idle, before)
	const spare = 16 // for Go's own threads
	if idle.threads > before.threads+spare {
		t.Errorf("%d threads, without the queues it was %d", idle.threads, before.threads)
	}
	if most := before.descriptors + descriptors*queues; idle.descriptors > most {
		t.Errorf("%d descriptors, want %d at most", idle.descriptors, most)
	}

	from := listenIn(t, ns, "127.0.0.1:0")
	for port := range 4 * queues {
		to := &net.UDPAddr{IP: net.IPv4(127, byte(port>>8), byte(port), 1), Port: 1000}
		if _, err := from.WriteTo([]byte("x"), to); err != nil {
			t.Fatal(err)
		}
	}
	from.Close()
	packets, woken := uint64(0), 0
	for deadline := time.Now().Add(20 * time.Second); packets < 4*queues; runtime.Gosched() {
		packets, woken = 0, 0
		for _, q := range all {
			if n := q.decided.Load(); n > 0 {
				packets += n
				woken++
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d packets arrived", packets, 4*queues)
		}
	}
	after := holds(t)
	t.Logf("%d of them woken: %+v", woken, after)
	if after.threads > idle.threads+maxLingering+spare {
		t.Errorf("%d threads when %d queues had woken, before it was %d", after.threads, woken, idle.threads)
	}

	for _, q := range all {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	end := holds(t)
	if end.descriptors != before.descriptors || end.goroutines > before.goroutines {
		t.Errorf("after Close %+v, before Open %+v", end, before)
	}
	if n := lingering.Load(); n != 0 {
		t.Errorf("%d loops linger after Close", n)
	}
}

// TestStatsIdle counts how often Stats reads the kernel's list: once while a queue is
// parked, and once more after the next packet.
func TestStatsIdle(t *testing.T) {
	n := newNetwork(t)
	n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
	q := serve(t, n.Server, 7, func(batch []capture.Packet) {
		for i := range batch {
			batch[i].Verdict = capture.Accept
		}
	})
	kernel := &countingList{ReaderAt: q.queues.file, Closer: q.queues.file.(io.Closer)}
	q.queues.file = kernel
	look := func() (reads int) {
		before := kernel.reads
		if s := q.Stats(); s.Full+s.Lost+s.Waiting != 0 {
			t.Errorf("stats %+v", s)
		}
		return kernel.reads - before
	}
	awaitTurn(t, q, 2)
	if first, second := look(), look(); first == 0 || second != 0 {
		t.Errorf("parked: %d and %d reads", first, second)
	}
	say(t, n, lab.IPv4)
	awaitTurn(t, q, 4)
	if first, second := look(), look(); first == 0 || second != 0 {
		t.Errorf("parked again: %d and %d reads", first, second)
	}
}

// countingList counts the reads of the kernel's list.
type countingList struct {
	io.ReaderAt
	io.Closer
	reads int
}

func (l *countingList) ReadAt(p []byte, pos int64) (int, error) {
	l.reads++
	return l.ReaderAt.ReadAt(p, pos)
}
