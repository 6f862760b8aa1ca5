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

// Open binds a queue in the network namespace of the calling thread.
func Open(number uint16, options Options) (*Queue, error) {
	s, err := OpenSocket()
	if err != nil {
		return nil, explain(number, err)
	}
	return s.Open(number, options)
}

// OpenKept is Open for a queue that outlives the process.
func OpenKept(number uint16, options Options, notes Notes) (*Queue, error) {
	s, err := OpenSocket()
	if err != nil {
		return nil, explain(number, err)
	}
	return s.OpenKept(number, options, notes)
}

// Adopt goes on with a queue of the network namespace of the calling thread.
func Adopt(number uint16, options Options, socket, memory int, notes Notes) (*Queue, Left, error) {
	s, err := OpenSocket()
	if err != nil {
		return nil, Left{}, explain(number, err)
	}
	return s.Adopt(number, options, socket, memory, notes)
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
