package nfqueue

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestAdoptRefuses gives Adopt a descriptor that is no socket of the queue. It leaves
// the descriptors alone.
func TestAdoptRefuses(t *testing.T) {
	ns, other := newNamespace(t), newNamespace(t)
	socket := func(family, typ, protocol int) func(t *testing.T) int {
		return func(t *testing.T) (fd int) {
			err := ns.Do(func() (err error) {
				fd, err = unix.Socket(family, typ|unix.SOCK_CLOEXEC, protocol)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}
	}
	of := func(where *lab.Netns, number uint16) func(t *testing.T) int {
		return func(t *testing.T) int {
			q := openKept(t, where, number)
			t.Cleanup(func() { q.Close() })
			return duplicateOf(t, q.fd)
		}
	}
	for _, c := range []struct {
		name   string
		number uint16
		socket func(t *testing.T) int
		want   string
	}{
		{"no socket", 3, func(t *testing.T) int {
			fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}, "socket operation on non-socket"},
		{"a socket of UDP", 3, socket(unix.AF_INET, unix.SOCK_DGRAM, 0), "not netfilter's"},
		{"a socket of rtnetlink", 3, socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), "not netfilter's"},
		{"a socket that never had a queue", 3, socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), "nobody has bound the queue"},
		{"a socket of another queue", 3, of(ns, 4), "nobody has bound the queue"},
		{"a socket of another namespace", 3, of(other, 3), "another network namespace"},
		{"a queue that was taken", 5, func(t *testing.T) int {
			first := of(ns, 5)(t)
			if !send(first, appendCommand(nil, 5, cmdUnbind), unix.Write) {
				t.Fatal("it cannot be unbound")
			}
			of(ns, 5)(t)
			return first
		}, "it has lost the queue, which is taken by "},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := heldFiles{socket: c.socket(t)}
			k, err := makeKept(testNotes)
			if err != nil {
				t.Fatal(err)
			}
			defer k.release()
			h.memory = k.fd
			open := lab.Descriptors(t)
			q, _, err := adoptIn(ns, c.number, h, testNotes)
			prefix := fmt.Sprintf("queue %d: the socket that was left: ", c.number)
			if q != nil || err == nil || !strings.HasPrefix(err.Error(), prefix) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if now := lab.Descriptors(t); now != open {
				t.Errorf("%d descriptors are open, and %d were", now, open)
			}
			if err := unix.Close(h.socket); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAdoptOptions adopts descriptors that have been elsewhere.
func TestAdoptOptions(t *testing.T) {
	ns := newNamespace(t)
	first := openKept(t, ns, 3)
	h := hold(t, first)
	if err := first.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(h.socket, true); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(h.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{}); err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{h.socket, h.memory} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			t.Fatal(err)
		}
	}
	q, _, err := adoptIn(ns, 3, h, testNotes)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for _, fd := range []int{h.socket, h.memory} {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d: flags %#x, %v: a child would inherit it", fd, flags, err)
		}
	}
	if flags, err := unix.FcntlInt(uintptr(h.socket), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#x, %v: it does not block", flags, err)
	}
	if wait, err := unix.GetsockoptTimeval(h.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO); err != nil || wait.Nano() != int64(linger) {
		t.Errorf("it waits for %v, %v, want %v", wait, err, linger)
	}
}
