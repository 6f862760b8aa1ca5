package nfqueue

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// TestOverflow fills the socket's buffer, or the queue, while decide waits. The queue
// must count the lost packets and decide all others.
func TestOverflow(t *testing.T) {
	for _, c := range []struct {
		name   string
		report bool // clear NETLINK_NO_ENOBUFS, which Open has set
		buffer int  // of the socket in bytes, 0 leaves it as Open made it
	}{
		{"socket full", false, 4096},
		{"socket full, with ENOBUFS", true, 4096},
		{"queue full", false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t)
			n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
			stand, resume := make(chan struct{}), make(chan struct{})
			var once sync.Once
			q, err := openIn(t, n.Server, 7)
			if err != nil {
				t.Fatal(err)
			}
			if c.report {
				if err := unix.SetsockoptInt(q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 0); err != nil {
					t.Fatal(err)
				}
			}
			if c.buffer > 0 {
				if err := unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, c.buffer); err != nil {
					t.Fatal(err)
				}
			}
			done := make(chan error, 1)
			go func() {
				done <- q.Run(func(batch []capture.Packet) {
					once.Do(func() { close(stand); <-resume })
					for i := range batch {
						batch[i].Verdict = capture.Accept
					}
				})
			}()
			from := listenIn(t, n.Client, "10.9.0.2:0")
			to := &net.UDPAddr{IP: net.ParseIP("10.9.0.1"), Port: 1000}
			knock := func() {
				if _, err := from.WriteTo([]byte("x"), to); err != nil {
					t.Fatal(err)
				}
			}
			knock()
			<-stand
			sent := uint64(1)
			for s := q.Stats(); s.Lost+s.Full == 0; s = q.Stats() {
				for range 64 {
					knock()
					sent++
				}
				if sent > 100000 {
					t.Fatalf("nothing was lost of %d packets: %+v", sent, s)
				}
			}
			if s := q.Stats(); s.Full > 0 && s.Waiting != DefaultLength {
				t.Errorf("the queue is full with %d packets, want %d", s.Waiting, DefaultLength)
			}
			close(resume)
			s, deadline := q.Stats(), time.Now().Add(20*time.Second)
			for ; s.Packets+uint64(s.Lost)+uint64(s.Full) < sent; s = q.Stats() {
				runtime.Gosched()
				if time.Now().After(deadline) {
					t.Fatalf("stats %+v of %d packets", s, sent)
				}
			}
			if (s.Full > 0) != (c.buffer == 0) || (s.Lost > 0) != (c.buffer > 0) || (s.Overruns > 0) != c.report {
				t.Errorf("stats %+v", s)
			}
			say(t, n, lab.IPv4) // it goes on
			if err := errors.Join(q.Close(), <-done); err != nil {
				t.Error(err)
			}
		})
	}
}
