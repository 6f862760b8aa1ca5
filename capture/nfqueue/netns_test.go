package nfqueue

import (
	"net"
	"os"
	"testing"
	"time"

	"recentfs/tests/lab"
)

func init() {
	if os.Getenv(clearedEnv) != "" {
		lab.LockStepped()
	}
}

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(killedEnv) != "":
		toBeKilled()
	case os.Getenv(clearedEnv) != "":
		cleared()
		return
	}
	lab.Main(m)
}

// newNamespace makes a network namespace for queues.
func newNamespace(t testing.TB) *lab.Netns {
	t.Helper()
	startParking(t)
	return lab.NewNetns(t)
}

// newNetwork makes a network whose server has the queues.
func newNetwork(t testing.TB) *lab.Network {
	t.Helper()
	startParking(t)
	return lab.NewNetwork(t)
}

// startParking makes what all queues of the process share, before a test counts
// what its own queues leave behind.
func startParking(t testing.TB) {
	t.Helper()
	if err := parking.start(); err != nil {
		t.Fatal(err)
	}
}

// openIn opens a queue inside the namespace.
func openIn(t testing.TB, ns *lab.Netns, number uint16) (q *Queue, err error) {
	t.Helper()
	err = ns.Do(func() (err error) {
		q, err = Open(number, Options{})
		return err
	})
	return q, err
}

// listenIn opens a UDP socket inside the namespace.
func listenIn(t testing.TB, ns *lab.Netns, address string) (c net.PacketConn) {
	t.Helper()
	err := ns.Do(func() (err error) {
		c, err = net.ListenPacket("udp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(lab.Patience))
	return c
}
