package nfqueue

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// TestUnusableMemory adopts a queue whose process had received some packets, and whose
// memory the next one does not know. Those packets come again, and so do others of
// which there is a message: decide gets each of them once.
func TestUnusableMemory(t *testing.T) {
	write := func(at uintptr, b string) func(t *testing.T, memory int) int {
		return func(t *testing.T, memory int) int {
			if _, err := unix.Pwrite(memory, []byte(b), int64(at)); err != nil {
				t.Fatal(err)
			}
			return memory
		}
	}
	file := func(size int64, seals int) func(t *testing.T, memory int) int {
		return func(t *testing.T, memory int) int {
			if err := unix.Close(memory); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
			if err == nil {
				err = unix.Ftruncate(fd, size)
			}
			if err == nil {
				_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
			}
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}
	}
	var m memory
	for _, c := range []struct {
		name   string
		change func(t *testing.T, memory int) int
		want   string
	}{
		{"another magic", write(unsafe.Offsetof(m.magic), "recentfz"), `it begins with "recentfz"`},
		{"another version", write(unsafe.Offsetof(m.version), "\x63"), "its version is 99: this program knows version 1"},
		{"another version of the notes", write(unsafe.Offsetof(m.notes), "\x63"), "the version of its notes is 99: this program knows version 3"},
		{"another size", file(int64(testNotes.end()-1), seals), "bytes, not "},
		{"never written", file(int64(testNotes.end()), seals), `it begins with "\x00`},
		{"a size that may change", file(int64(testNotes.end()), 0), "its size may change"},
		{"no file in memory", func(t *testing.T, memory int) int {
			if err := unix.Close(memory); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}, "invalid argument"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t)
			n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
			q := openKept(t, n.Server, 7)
			const received, waiting = 3, 2
			to := listenIn(t, n.Server, "10.9.0.1:1000")
			receiveOf(t, n, q, received)
			knocks(t, n, q, received, waiting)
			h := hold(t, q)
			if err := unix.Close(q.fd); err != nil { // as at the end of a process
				t.Fatal(err)
			}
			q.kept.release()
			h.memory = c.change(t, h.memory)
			open := lab.Descriptors(t)
			next, left, err := adoptIn(n.Server, 7, h, testNotes)
			if err != nil {
				t.Fatal(err)
			}
			if left.Received != 0 || left.Repeated != received+waiting || left.Unusable == nil || !strings.Contains(left.Unusable.Error(), c.want) {
				t.Errorf("it left %+v, want %q", left, c.want)
			}
			if now := lab.Descriptors(t); now != open+1 { // the kernel's list
				t.Errorf("%d descriptors are open, and %d were", now, open)
			}
			comeOnce(t, n, next, to, received+waiting, 2*(received+waiting))
		})
	}
}

// TestPassedOver adopts a queue whose packets go on, since nothing queues them any
// more. The messages about them are passed over.
func TestPassedOver(t *testing.T) {
	n := newNetwork(t)
	n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
	q := openKept(t, n.Server, 7)
	to := listenIn(t, n.Server, "10.9.0.1:1000")
	knocks(t, n, q, 0, 3)
	h := hold(t, q)
	if _, err := unix.Pwrite(h.memory, []byte("another"), 0); err != nil {
		t.Fatal(err)
	}
	if err := q.Leave(); err != nil {
		t.Fatal(err)
	}
	n.Server.Sh(t, "iptables-legacy -F INPUT")
	next, left, err := adoptIn(n.Server, 7, h, testNotes)
	if err != nil || left.Repeated != 3 {
		t.Fatal(left, err)
	}
	n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
	for i := range 3 {
		var b [1]byte
		if _, _, err := to.ReadFrom(b[:]); err != nil || b[0] != byte(i) {
			t.Errorf("packet %d: %d, %v", i, b, err)
		}
	}
	comeOnce(t, n, next, to, 0, 3)
}

// TestLostMessages adopts a queue whose process has received messages that are in no
// memory, with and without others that wait. All packets are decided once.
func TestLostMessages(t *testing.T) {
	for _, waiting := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d others", waiting), func(t *testing.T) {
			n := newNetwork(t)
			n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
			q := openKept(t, n.Server, 7)
			const received = 3
			to := listenIn(t, n.Server, "10.9.0.1:1000")
			receiveOf(t, n, q, received)
			q.kept.clear(received)
			knocks(t, n, q, received, waiting)
			h := hold(t, q)
			if err := q.Leave(); err != nil {
				t.Fatal(err)
			}
			next, left, err := adoptIn(n.Server, 7, h, testNotes)
			if err != nil || left != (Left{}) {
				t.Fatal(left, err)
			}
			comeOnce(t, n, next, to, received+waiting, uint32(2*received+waiting))
		})
	}
}

// TestFinish adopts a queue whose process had received packets: they come in their
// batch, before others, and their verdicts are sent. What the process has sent already
// is no fault.
func TestFinish(t *testing.T) {
	for _, sent := range []bool{false, true} {
		t.Run(fmt.Sprintf("sent %t", sent), func(t *testing.T) {
			n := newNetwork(t)
			n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
			q := openKept(t, n.Server, 7)
			const received, waiting = 3, 2
			to := listenIn(t, n.Server, "10.9.0.1:1000")
			receiveOf(t, n, q, received)
			if sent {
				q.running.Lock()
				q.wake()
				for i := range q.parse(received) {
					q.packets[i].Verdict = capture.Accept
				}
				q.answer(q.encode(received), received)
				q.sleep()
				q.running.Unlock()
			}
			knocks(t, n, q, received, waiting)
			h := hold(t, q)
			if err := q.Leave(); err != nil {
				t.Fatal(err)
			}
			next, left, err := adoptIn(n.Server, 7, h, testNotes)
			if err != nil || left != (Left{Received: received}) {
				t.Fatal(left, err)
			}
			comeOnce(t, n, next, to, received+waiting, received+waiting)
		})
	}
}

// receiveOf has a queue receive packets, and do nothing with them.
func receiveOf(t *testing.T, n *lab.Network, q *Queue, packets int) {
	t.Helper()
	knocks(t, n, q, 0, packets)
	for got := 0; got < packets; {
		more, err := receive(q.fd, q.kept.heads[got:], unix.MSG_WAITFORONE)
		if err != nil {
			t.Fatal(err)
		}
		got += more
	}
	if got := q.kept.received(); got != packets {
		t.Fatalf("%d messages are in the memory, want %d", got, packets)
	}
}

// knocks sends datagrams, with the bytes from first on, and waits until the kernel has
// queued them.
func knocks(t *testing.T, n *lab.Network, q *Queue, first, packets int) {
	t.Helper()
	from := listenIn(t, n.Client, "10.9.0.2:0")
	for i := range packets {
		if _, err := from.WriteTo([]byte{byte(first + i)}, &net.UDPAddr{IP: net.ParseIP("10.9.0.1"), Port: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	lab.Eventually(t, "the packets are queued", func() error {
		if k, _ := q.queues.find(q.number); k.last != uint32(first+packets) {
			return fmt.Errorf("the kernel says %+v", k)
		}
		return nil
	})
}

// comeOnce finishes an adopted queue and runs it until all packets have come, each
// once, the last one with an ID. The network's next packet comes too.
func comeOnce(t *testing.T, n *lab.Network, q *Queue, to net.PacketConn, packets int, last uint32) {
	t.Helper()
	var mu sync.Mutex
	var got []byte
	decide := func(batch []capture.Packet) {
		mu.Lock()
		defer mu.Unlock()
		if all := atWork(q); len(all) != 1 || !strings.HasPrefix(all[0], "the same packets are under decision ") {
			t.Errorf("at work are %q", all)
		}
		for i := range batch {
			batch[i].Verdict = capture.Accept
			got = append(got, batch[i].Data[28]) // after the headers of IP and UDP
		}
	}
	if err := q.Finish(decide); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- q.Run(decide) }()
	from := listenIn(t, n.Client, "10.9.0.2:0")
	if _, err := from.WriteTo([]byte{byte(packets)}, to.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	arrived := make([]byte, 0, packets)
	for len(arrived) <= packets {
		var b [1]byte
		if _, _, err := to.ReadFrom(b[:]); err != nil {
			t.Fatalf("after %v: %v", arrived, err)
		}
		arrived = append(arrived, b[0])
	}
	if s := q.Stats(); s.Malformed+s.Refused+s.Unsent+uint64(s.Full+s.Lost) > 0 {
		t.Errorf("stats %+v", s)
	}
	if k, _ := q.queues.find(q.number); k.last != last+1 || k.waiting != 0 {
		t.Errorf("the kernel says %+v, want %d packets", k, last+1)
	}
	if q.kept.passing != 0 {
		t.Error("packets are passed over for ever")
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	var want []byte
	for i := range packets + 1 {
		want = append(want, byte(i))
	}
	slices.Sort(arrived)
	slices.Sort(got)
	if !slices.Equal(got, want) || !slices.Equal(arrived, want) {
		t.Errorf("decided %v, arrived %v, want %v", got, arrived, want)
	}
}
