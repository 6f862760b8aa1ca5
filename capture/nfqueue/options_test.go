package nfqueue

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// flooded is a queue that nobody serves, and the socket to which its packets go.
type flooded struct {
	t    *testing.T
	ns   *lab.Netns
	q    *Queue
	to   net.PacketConn
	from net.PacketConn
	sent int
	got  int // packets that came through though nobody decided them
}

func newFlooded(t *testing.T, options Options) *flooded {
	t.Helper()
	ns := newNamespace(t)
	ns.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 3")
	f := &flooded{t: t, ns: ns, to: listenIn(t, ns, "127.0.0.1:0"), from: listenIn(t, ns, "127.0.0.1:0")}
	err := ns.Do(func() (err error) {
		f.q, err = OpenKept(3, options, testNotes)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.q.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// send sends n packets more, and waits until the kernel has counted each.
func (f *flooded) send(n int) {
	f.t.Helper()
	go func() {
		for range n {
			f.from.WriteTo([]byte("x"), f.to.LocalAddr())
		}
	}()
	f.sent += n
	lab.Eventually(f.t, "packets wait, are dropped or come through", func() error {
		conn, err := f.to.(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		conn.Read(func(fd uintptr) bool {
			var b [8]byte
			for {
				if _, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT); err != nil {
					return true
				}
				f.got++
			}
		})
		s := f.q.Stats()
		if all := f.got + int(s.Waiting+s.Full+s.Lost); all != f.sent {
			return fmt.Errorf("%d of %d packets: %d came through, stats %+v", all, f.sent, f.got, s)
		}
		return nil
	})
}

// adopt hands the queue on to one with other options.
func (f *flooded) adopt(options Options) {
	f.t.Helper()
	h := hold(f.t, f.q)
	if err := f.q.Leave(); err != nil {
		f.t.Fatal(err)
	}
	err := f.ns.Do(func() (err error) {
		f.q, _, err = Adopt(3, options, h.socket, h.memory, testNotes)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// TestFull fills a queue that nobody serves, or its socket. The kernel drops what comes
// then, or accepts it. A process that goes on with the queue changes both.
func TestFull(t *testing.T) {
	t.Run("queue", func(t *testing.T) {
		f := newFlooded(t, Options{Length: 5})
		f.send(8)
		f.has(0, Stats{Waiting: 5, Full: 3})
		f.adopt(Options{Length: 6, Accept: true})
		f.send(8)
		f.has(7, Stats{Waiting: 6, Full: 3}) // the kernel counts none of those that it accepts
		f.adopt(Options{Length: 6})
		f.send(2)
		f.has(7, Stats{Waiting: 6, Full: 5})
	})
	t.Run("queue, accept first", func(t *testing.T) {
		f := newFlooded(t, Options{Length: 5, Accept: true})
		f.send(8)
		f.has(3, Stats{Waiting: 5})
		f.adopt(Options{})
		f.send(8)
		f.has(3, Stats{Waiting: 13})
	})
	t.Run("socket, accept first", func(t *testing.T) {
		f := newFlooded(t, Options{Buffer: LeastBuffer, Accept: true})
		f.send(100)
		waiting := f.q.Stats().Waiting
		f.has(int(100-waiting), Stats{Waiting: waiting, Passed: 100 - waiting})
	})
	t.Run("socket", func(t *testing.T) {
		const many = 100
		f := newFlooded(t, Options{Buffer: LeastBuffer})
		f.send(many)
		waiting := f.q.Stats().Waiting
		if waiting == 0 {
			t.Fatal("no packet waits")
		}
		f.has(0, Stats{Waiting: waiting, Lost: many - waiting})
		f.adopt(Options{Buffer: LeastBuffer, Accept: true})
		left := f.q.Stats().Passed // the acknowledgement of Leave had no room
		f.send(many)
		f.has(many, Stats{Waiting: waiting, Lost: many - waiting, Passed: left + many})
		f.adopt(Options{Buffer: LeastBuffer})
		left = f.q.Stats().Passed
		f.send(many)
		f.has(many, Stats{Waiting: waiting, Lost: 2*many - waiting, Passed: left})
		f.adopt(Options{}) // with a larger buffer
		f.send(many)
		if s := f.q.Stats(); f.got != many || s.Waiting != waiting+many {
			t.Fatalf("%d came through, stats %+v", f.got, s)
		}
	})
}

func (f *flooded) has(got int, want Stats) {
	f.t.Helper()
	if s := f.q.Stats(); s != want || f.got != got {
		f.t.Fatalf("%d came through, stats %+v, want %d and %+v", f.got, s, got, want)
	}
}

// TestLengthOfNothing has the kernel's own word for it: a queue of length 0 is always
// full. So Options has another meaning for 0.
func TestLengthOfNothing(t *testing.T) {
	f := newFlooded(t, Options{})
	f.q.options.Length = 0
	if err := f.q.configure(); err != nil {
		t.Fatal(err)
	}
	f.send(3)
	f.has(0, Stats{Full: 3})
}

// TestBuffer reads back what the kernel has given: all that it takes, or less without
// CAP_NET_ADMIN.
func TestBuffer(t *testing.T) {
	for _, c := range []struct {
		name      string
		ask, want int
	}{{"default", 0, DefaultBuffer}, {"least", LeastBuffer, LeastBuffer}, {"most", MostBuffer, MostBuffer}, {"beyond", MostBuffer + 1, MostBuffer}} {
		t.Run(c.name, func(t *testing.T) {
			f := newFlooded(t, Options{Buffer: c.ask})
			if got, err := f.q.Buffer(); got != c.want || err != nil {
				t.Errorf("%d, %v, want %d", got, err, c.want)
			}
		})
	}
	t.Run("closed", func(t *testing.T) {
		q := &Queue{number: 3, fd: -1}
		if _, err := q.Buffer(); !errors.Is(err, unix.EBADF) {
			t.Errorf("error %v", err)
		}
	})
}
