package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"recentfs/namespaces"
	"recentfs/tests/lab"
)

const (
	stormLength  = time.Minute
	stormWorkers = 4
	// stormPace is how often a worker makes a namespace. The kernel destroys
	// namespaces later, one after the other, and should keep up.
	stormPace = 30 * time.Millisecond
)

// TestNetnsStorm makes and deletes namespaces at random for a minute, while
// packets flow in them and in a namespace that stays. At the end nothing of them
// may be left.
func TestNetnsStorm(t *testing.T) {
	l := lab.NewNetwork(t)
	l.Serve()
	l.Server.Attach(t, "steady")
	d := lab.StartDaemon(t, lab.NewNetns(t), sshSeen, "--netns", "all")
	l.Server.Sh(t, "iptables-legacy -w -A INPUT -p udp -j NFQUEUE --queue-num 0")
	d.AwaitFolders("host", "steady")
	before := d.Descriptors()

	var made, used, missed atomic.Int64
	quit := make(chan struct{})
	var steady, storm sync.WaitGroup
	steady.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				if l.Echo(lab.IPv4, lab.IPv4.Client, lab.Patience) != nil {
					missed.Add(1)
				}
			}
		}
	})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	begin := time.Now()
	for w := range uint64(stormWorkers) {
		storm.Go(func() {
			random := rand.New(rand.NewPCG(seed, w))
			pace := time.NewTicker(stormPace)
			defer pace.Stop()
			for ; time.Since(begin) < stormLength && !t.Failed(); <-pace.C {
				n := made.Add(1)
				if err := gust(t, d, fmt.Sprintf("storm%d", n), random.IntN(3), &used); err != nil {
					t.Errorf("namespace %d: %v", n, err)
				}
			}
		})
	}
	storm.Wait()
	close(quit)
	steady.Wait()
	t.Logf("%d namespaces were made and deleted, packets were seen in %d", made.Load(), used.Load())
	if made.Load() < 200 || used.Load() < 50 {
		t.Errorf("that is too few for a storm")
	}
	if missed.Load() > 0 {
		t.Errorf("%d packets got lost in the namespace that stayed", missed.Load())
	}
	d.AwaitFolders("host", "steady")
	if e := d.ReadPath(filepath.Join(d.Folder("steady"), "ssh")); len(e) != 1 {
		t.Errorf("steady's table: %v", e)
	}
	lab.Eventually(t, "descriptors as before", func() error {
		if now := d.Descriptors(); now != before {
			return fmt.Errorf("%d are open, before it was %d", now, before)
		}
		return nil
	})
	inContainer := namespaces.CheckProcesses() // the daemon warns of it, and nothing is wrong
	for line := range strings.Lines(d.Output.String()) {
		if inContainer != nil && strings.Contains(line, inContainer.Error()) {
			continue
		}
		if strings.Contains(line, "level=error") || strings.Contains(line, "level=warning") {
			t.Errorf("the daemon says: %s", line)
		}
	}
}

// gust makes a namespace and deletes it: at once, when its table is there, or
// when its table has a packet.
func gust(t *testing.T, d *lab.Daemon, name string, how int, used *atomic.Int64) error {
	ns := lab.MakeNetns(t)
	defer ns.End()
	var late sync.WaitGroup
	defer late.Wait()
	if err := ns.Name(name); err != nil {
		return err
	}
	table := filepath.Join(d.Folder(name), "ssh")
	if how > 0 {
		if err := lab.Await(func() error { _, err := os.Stat(table); return err }); err != nil {
			return fmt.Errorf("its table does not come: %w", err)
		}
	}
	if how > 1 {
		ns.Sh(t, "ip link set lo up; iptables-legacy -w -A INPUT -p udp -j NFQUEUE --queue-num 0")
		if err := ns.Do(func() error { return datagrams(10) }); err != nil {
			return err
		}
		if err := lab.Await(func() error {
			text, err := os.ReadFile(table)
			if err == nil && !strings.HasPrefix(string(text), "src=127.0.0.1 ") {
				err = fmt.Errorf("it has %q", text)
			}
			return err
		}); err != nil {
			return fmt.Errorf("a packet in its table: %w", err)
		}
		used.Add(1)
		late.Go(func() { ns.Do(func() error { return datagrams(50) }) }) // still on their way when it goes
	}
	return lab.Detach(name)
}

// datagrams sends n datagrams to a port of the loopback device where nobody
// listens.
func datagrams(n int) error {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer c.Close()
	for range n {
		if _, err := c.WriteTo([]byte("storm"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}); err != nil && !strings.Contains(err.Error(), syscall.EPERM.Error()) {
			return err
		}
	}
	return nil
}
