package daemon

import (
	"errors"
	"net"
	"strings"
	"testing"

	"recentfs/capture/nfqueue"
	"recentfs/tests/lab"
)

// TestFullIsSaid has more packets come than there is room for, while the rules decide
// none. The housekeeper says what the kernel has done with them.
func TestFullIsSaid(t *testing.T) {
	for _, c := range []struct {
		name    string
		options nfqueue.Options
		want    string
	}{
		{"queue full, drop", nfqueue.Options{Length: 5}, "3 packets were dropped before any rule saw them: the queue was full; let fewer packets into it, or raise --queue-length"},
		{"queue full, accept", nfqueue.Options{Length: 5, Accept: true}, "full now: queue 0: the kernel accepts what comes, before any rule sees it, and does not count it (--on-overload accept); "},
		{"socket full, drop", nfqueue.Options{Buffer: nfqueue.LeastBuffer}, " packets were dropped before any rule saw them: the buffer of the queue's socket was full; raise --queue-buffer"},
		{"socket full, accept", nfqueue.Options{Buffer: nfqueue.LeastBuffer, Accept: true}, " packets were accepted before any rule saw them: the buffer of the queue's socket was full; raise --queue-buffer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := lab.NewNamed(t, "full")
			ns.Sh(t, "iptables-legacy -w -A INPUT -p udp -j NFQUEUE --queue-num 0")
			var log lab.Output
			config := newConfig(t, []string{"full"}, seenRules)
			config.Queue = c.options
			s := config.start(t, &log)
			s.mu.Lock()
			var i *instance
			for _, i = range s.instances {
			}
			s.mu.Unlock()
			i.deciding.Lock()
			defer i.deciding.Unlock()
			var conn net.PacketConn
			if err := ns.Do(func() (err error) { conn, err = net.ListenPacket("udp4", "127.0.0.1:0"); return err }); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			packets := 8
			if c.options.Buffer > 0 {
				packets = 200
			}
			for range packets {
				if _, err := conn.WriteTo([]byte("x"), conn.LocalAddr()); err != nil {
					t.Fatal(err)
				}
			}
			lab.Eventually(t, "it says what became of them", func() error {
				if s.check(); !strings.Contains(log.String(), "network namespace full: ") || !strings.Contains(log.String(), c.want) {
					return errors.New(log.String())
				}
				return nil
			})
			if n := strings.Count(log.String(), "\n"); n != 1 {
				t.Errorf("%d lines:\n%s", n, &log)
			}
		})
	}
}

// TestSmallBuffer has a socket whose buffer is smaller than was asked for, as without
// CAP_NET_ADMIN.
func TestSmallBuffer(t *testing.T) {
	ns := lab.NewNetns(t)
	var q *nfqueue.Queue
	if err := ns.Do(func() (err error) { q, err = openQueue(3, nfqueue.Options{Buffer: 1 << 20}); return err }); err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for _, c := range []struct {
		name string
		ask  int
		want string
	}{
		{"as asked", 1 << 20, ""},
		{"smaller", 4 << 20, "network namespace blue: queue 3: the buffer of its socket is 1M, not 4M: that needs CAP_NET_ADMIN in the first user namespace, or sysctl -w net.core.rmem_max=4194304; or set --queue-buffer lower"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log lab.Output
			newConfig(t, nil, seenRules).new(t, &log)
			i := &instance{name: "blue", options: nfqueue.Options{Buffer: c.ask}}
			for range 2 { // of several queues
				i.checkBuffer(3, q)
			}
			if got := log.String(); !strings.Contains(got, c.want) || strings.Count(got, "\n") != min(1, len(c.want)) {
				t.Errorf("it says %q, want %q", got, c.want)
			}
		})
	}
}
