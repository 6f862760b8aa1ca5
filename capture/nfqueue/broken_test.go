package nfqueue

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// TestSocketFails puts another file in the place of a queue's socket while packets
// arrive. Run says so, Close releases all that is left, and the queue can be opened
// again.
func TestSocketFails(t *testing.T) {
	ns := newNamespace(t)
	ns.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 3")
	stop := make(chan struct{})
	wait := flood(t, ns, stop)
	defer wait()
	defer close(stop)
	null, err := os.Open(os.DevNull) // which can be neither written nor polled
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	open := lab.Descriptors(t)
	for range 3 {
		q, err := openIn(t, ns, 3)
		if err != nil {
			t.Fatal(err)
		}
		done, some := make(chan error, 1), make(chan struct{}, 1)
		go func() {
			done <- q.Run(func([]capture.Packet) {
				select {
				case some <- struct{}{}:
				default:
				}
			})
		}()
		<-some
		if err := unix.Dup3(int(null.Fd()), q.fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, unix.ENOTSOCK) || !strings.HasPrefix(err.Error(), "queue 3: receive: ") {
			t.Errorf("Run: %v", err)
		}
		if err := q.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if now := lab.Descriptors(t); now != open {
			t.Errorf("%d descriptors are open, and %d were", now, open)
		}
	}
}
