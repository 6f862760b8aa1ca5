package daemon

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// work is what a server has to do now.
func work(s *Server) (all []string) {
	for what, number := range s.AtWork {
		all = append(all, fmt.Sprint(what, " ", number))
	}
	return all
}

// awaitWork waits until one thing is at work, which begins as that. It returns it.
func awaitWork(t *testing.T, s *Server, want string) (found string) {
	t.Helper()
	lab.Eventually(t, want, func() error {
		all := work(s)
		if len(all) != 1 || !strings.HasPrefix(all[0], want) {
			return fmt.Errorf("at work are %q", all)
		}
		found = all[0]
		return nil
	})
	return found
}

// awaitRest waits until nothing is at work.
func awaitRest(t *testing.T, s *Server) {
	t.Helper()
	lab.Eventually(t, "nothing is at work", func() error {
		if all := work(s); len(all) > 0 {
			return fmt.Errorf("at work are %q", all)
		}
		return nil
	})
}

// TestHungQueue has the loop of a queue hang, beside a reconcile and a reload.
func TestHungQueue(t *testing.T) {
	ns := lab.NewNamed(t, "red")
	ns.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 0")
	c := newConfig(t, []string{"red"}, seenRules)
	params := c.Params
	params.PktListTot++
	c.ReadParams = func() (Params, error) { return params, nil }
	s := c.start(t, os.Stderr)
	awaitRest(t, s)
	var red *instance
	for _, i := range s.instances {
		red = i
	}

	red.deciding.Lock()
	if err := ns.Do(func() error {
		c, err := net.Dial("udp", "127.0.0.1:9")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("knock"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	const deciding = "network namespace red: queue 0: the same packets are under decision "
	before := awaitWork(t, s, deciding)
	if now := awaitWork(t, s, deciding); now != before {
		t.Errorf("now at work is %q, and before %q", now, before)
	}
	s.mu.Lock() // a reconcile
	if now := awaitWork(t, s, deciding); now != before {
		t.Errorf("now at work is %q, and before %q", now, before)
	}
	s.mu.Unlock()
	// The loop waits, and so nobody else decides: as if it got on in its batch.
	red.set.Queue(0).Decide(make([]capture.Packet, 1), s.clock.Now())
	if now := awaitWork(t, s, deciding); now == before {
		t.Errorf("after a packet of the batch, at work is %q, as before", now)
	}
	before = awaitWork(t, s, deciding)
	// It moves a table, for which packets may wait.
	reloaded := make(chan error, 1)
	go func() { reloaded <- s.Reload(io.Discard) }()
	lab.Eventually(t, "a reload gets on", func() error {
		if now := awaitWork(t, s, deciding); now == before {
			return fmt.Errorf("at work is %q, as before", now)
		}
		return nil
	})
	red.deciding.Unlock()
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	awaitRest(t, s)
}

// TestLongRead reads far away in a table. The read takes long, and gets on.
func TestLongRead(t *testing.T) {
	c := newConfig(t, []string{"red"}, seenRules)
	lab.NewNamed(t, "red")
	c.Params.ListTot = 5000
	s := c.start(t, os.Stderr)
	const fill = "for a in $(seq 20); do for b in $(seq 250); do echo +10.0.$a.$b > ns/red/seen; done; done"
	if out, err := inMount(s, "sh", "-c", fill); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lab.Eventually(t, "a read gets on", func() error {
		done := make(chan error, 1)
		go func() {
			_, err := inMount(s, "dd", "if=ns/red/seen", "bs=4096", "count=1", "skip=60")
			done <- err
		}()
		seen := make(map[uint64]bool)
		for {
			for what, number := range s.AtWork {
				if strings.HasSuffix(what, ": the same request is at work") {
					seen[number] = true
				}
			}
			select {
			case err := <-done:
				if err == nil && len(seen) < 10 { // OPEN, READ, and others
					err = fmt.Errorf("it had %d numbers", len(seen))
				}
				return err
			default:
			}
		}
	})
	awaitRest(t, s)
}
