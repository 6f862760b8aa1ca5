package nfqueue

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// TestSend sends while the kernel has no memory, and when it refuses.
func TestSend(t *testing.T) {
	always := func(err error) []error {
		all := make([]error, 2*sendTries)
		for i := range all {
			all[i] = err
		}
		return all
	}
	for _, c := range []struct {
		name   string
		errors []error // of each write
		sent   bool
		writes int
	}{
		{"at once", []error{nil}, true, 1},
		{"after a signal", []error{unix.EINTR, nil}, true, 2},
		{"after no memory", []error{unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN, nil}, true, 4},
		{"at the last try", append(always(unix.ENOBUFS)[:sendTries-1], nil), true, sendTries},
		{"never enough memory", always(unix.ENOBUFS), false, sendTries},
		{"refused", []error{unix.EBADF, nil}, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			writes := 0
			sent := send(-1, []byte("x"), func(int, []byte) (int, error) {
				writes++
				return 1, c.errors[writes-1]
			})
			if sent != c.sent || writes != c.writes {
				t.Errorf("sent: %v after %d writes, want %v after %d", sent, writes, c.sent, c.writes)
			}
		})
	}
}

// TestUnsent takes the socket away from the loop while it decides, so that it can
// neither send the verdicts nor receive.
func TestUnsent(t *testing.T) {
	n := newNetwork(t)
	n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
	q, err := openIn(t, n.Server, 7)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := unix.FcntlInt(uintptr(q.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	ran, packets := make(chan error), uint64(0)
	go func() {
		ran <- q.Run(func(batch []capture.Packet) {
			packets += uint64(len(batch))
			if err := unix.Dup3(null, q.fd, unix.O_CLOEXEC); err != nil {
				t.Error(err)
			}
		})
	}()
	knock(t, n)
	if err := <-ran; !errors.Is(err, unix.ENOTSOCK) || !strings.HasPrefix(err.Error(), "queue 7: receive: ") {
		t.Errorf("Run: %v", err)
	}
	if s := q.Stats(); packets == 0 || s.Unsent != packets || s.Packets != packets {
		t.Errorf("stats %+v, want %d packets and all unsent", s, packets)
	}
	if err := unix.Dup3(socket, q.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// TestRefused removes a packet's device before its verdict: the kernel has then
// dropped the packet (nfqnl_dev_drop), and refuses the verdict.
func TestRefused(t *testing.T) {
	n := newNetwork(t)
	n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
	arrived, resume := make(chan string), make(chan struct{})
	q := serve(t, n.Server, 7, func(batch []capture.Packet) {
		arrived <- batch[0].In
		<-resume
		for i := range batch {
			batch[i].Verdict = capture.Accept
		}
	})
	knock(t, n)
	n.Server.Sh(t, "ip link del "+<-arrived)
	close(resume)
	lab.Eventually(t, "the kernel refuses the verdict", func() error {
		if s := q.Stats(); s != (Stats{Packets: 1, Refused: 1}) {
			return fmt.Errorf("stats %+v", s)
		}
		return nil
	})
}

// knock sends one datagram from the client to the server.
func knock(t *testing.T, n *lab.Network) {
	t.Helper()
	f := lab.Families[0]
	from := listenIn(t, n.Client, f.Client.String()+":0")
	if _, err := from.WriteTo([]byte("x"), &net.UDPAddr{IP: f.Server.AsSlice(), Port: 1000}); err != nil {
		t.Fatal(err)
	}
}

// TestReceiveGoesOn sends a signal to a thread that waits for a message. A socket
// with SO_RCVTIMEO has the system call end by EINTR then.
func TestReceiveGoesOn(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(lab.Patience.Seconds())}); err != nil {
		t.Fatal(err)
	}
	type result struct {
		n   int
		err error
	}
	thread, received := make(chan int), make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		thread <- unix.Gettid()
		n, err := receive(pair[0], newInbox().heads[:], unix.MSG_WAITFORONE)
		received <- result{n, err}
	}()
	tid := <-thread
	// waits tells how often the thread has begun to sleep, while it is in recvmmsg.
	waits := func() (n int, err error) {
		dir := fmt.Sprintf("/proc/self/task/%d/", tid)
		call, err := os.ReadFile(dir + "syscall")
		if err != nil || !strings.HasPrefix(string(call), fmt.Sprint(unix.SYS_RECVMMSG, " ")) {
			return 0, fmt.Errorf("the thread is in %q, %v", call, err)
		}
		status, err := os.ReadFile(dir + "status")
		_, after, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		fmt.Sscan(after, &n)
		return n, err
	}
	before := 0
	lab.Eventually(t, "the thread waits", func() (err error) {
		before, err = waits()
		return err
	})
	// Go's runtime sends this one to its threads.
	if err := unix.Tgkill(unix.Getpid(), tid, unix.SIGURG); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the thread waits again", func() error {
		if len(received) > 0 {
			return nil
		}
		if n, err := waits(); err != nil || n <= before {
			return fmt.Errorf("it has slept %d times, before it was %d: %v", n, before, err)
		}
		return nil
	})
	if _, err := unix.Write(pair[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	if r := <-received; r != (result{1, nil}) {
		t.Errorf("received %d messages, %v, want 1", r.n, r.err)
	}
}
