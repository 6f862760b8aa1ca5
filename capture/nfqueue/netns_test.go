package nfqueue

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace of a test. It has no name and goes with its
// last descriptor, so that nothing is left behind however the test ends.
type namespace struct{ file *os.File }

// newNamespace makes a network namespace with its loopback device up.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	if err := parking.start(); err != nil { // what the process has once is no leak
		t.Fatal(err)
	}
	ns := new(namespace)
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		ns.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.file.Close() })
	ns.run(t, "ip link set lo up")
	return ns
}

// onThread runs f on a thread of its own, which ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- f()
	}()
	return <-done
}

// open opens a queue inside the namespace.
func (ns *namespace) open(t testing.TB, number uint16) (q *Queue, err error) {
	t.Helper()
	ns.do(t, func() error {
		q, err = Open(Config{Number: number})
		return nil
	})
	return q, err
}

// fd is the namespace's descriptor.
func (ns *namespace) fd() int { return int(ns.file.Fd()) }

// do runs f inside the namespace.
func (ns *namespace) do(t testing.TB, f func() error) {
	t.Helper()
	err := onThread(func() error {
		if err := unix.Setns(ns.fd(), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a command, split at blanks, inside the namespace.
func (ns *namespace) run(t testing.TB, command string) string {
	t.Helper()
	var out []byte
	ns.do(t, func() (err error) {
		words := strings.Fields(command)
		out, err = exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, out)
		}
		return nil
	})
	return string(out)
}

// listen opens a UDP socket inside the namespace.
func (ns *namespace) listen(t testing.TB, address string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	ns.do(t, func() (err error) {
		c, err = net.ListenPacket("udp", address)
		return err
	})
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// network is two namespaces joined by a veth pair: the one under test, with
// 192.0.2.1, 2001:db8::1 on the device v0, and its peer with 192.0.2.2,
// 2001:db8::2 on v1.
type network struct{ here, there *namespace }

func newNetwork(t testing.TB) network {
	t.Helper()
	n := network{newNamespace(t), newNamespace(t)}
	n.here.run(t, fmt.Sprintf("ip link add v0 type veth peer name v1 netns /proc/%d/fd/%d", os.Getpid(), n.there.fd()))
	for i, ns := range []*namespace{n.here, n.there} {
		ns.run(t, fmt.Sprintf("ip addr add 192.0.2.%d/24 dev v%d", i+1, i))
		ns.run(t, fmt.Sprintf("ip addr add 2001:db8::%d/64 dev v%d nodad", i+1, i))
		ns.run(t, fmt.Sprintf("ip link set v%d up", i))
	}
	return n
}
