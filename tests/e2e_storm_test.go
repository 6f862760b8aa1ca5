package tests

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
)

const (
	stormLength  = time.Minute
	stormWorkers = 4
	// stormPace is what each of them makes a namespace in: the kernel, which
	// takes namespaces down later and one after the other, should keep up.
	stormPace = 30 * time.Millisecond
)

// TestNetnsStorm makes and deletes namespaces at random for a minute, while
// packets flow in them and in one that stays. At the end nothing of them may be
// left.
func TestNetnsStorm(t *testing.T) {
	l := newLab(t)
	l.serve()
	l.server.attach(t, "steady")
	d := startDaemon(t, newNetns(t), sshSeen, "--netns", "all")
	l.server.sh(t, "iptables-legacy -w -A INPUT -p udp -j NFQUEUE --queue-num 0")
	d.awaitFolders("host", "steady")
	before := d.descriptors()

	var made, used, missed atomic.Int64
	quit := make(chan struct{})
	var steady, storm sync.WaitGroup
	steady.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				if l.echo(ipv4, ipv4.client, patience) != nil {
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
		t.Errorf("that was no storm")
	}
	if missed.Load() > 0 {
		t.Errorf("%d packets got lost in the namespace that stayed", missed.Load())
	}
	d.awaitFolders("host", "steady")
	if e := d.readPath(filepath.Join(d.folder("steady"), "ssh")); len(e) != 1 {
		t.Errorf("steady's table: %v", e)
	}
	eventually(t, "descriptors as before", func() error {
		if now := d.descriptors(); now != before {
			return fmt.Errorf("%d are open, before it was %d", now, before)
		}
		return nil
	})
	for line := range strings.Lines(d.output.String()) {
		if strings.Contains(line, "level=error") || strings.Contains(line, "level=warning") {
			t.Errorf("the daemon says: %s", line)
		}
	}
}

// gust makes a namespace and deletes it: at once, when its table is there, or
// when packets have been seen.
func gust(t *testing.T, d *daemon, name string, how int, used *atomic.Int64) error {
	ns := makeNetns(t)
	defer ns.end()
	var late sync.WaitGroup
	defer late.Wait()
	if err := ns.name(name); err != nil {
		return err
	}
	table := filepath.Join(d.folder(name), "ssh")
	if how > 0 {
		if err := await(func() bool { _, err := os.Stat(table); return err == nil }); err != nil {
			return fmt.Errorf("its table: %w", err)
		}
	}
	if how > 1 {
		ns.sh(t, "ip link set lo up; iptables-legacy -w -A INPUT -p udp -j NFQUEUE --queue-num 0")
		var err error
		ns.do(func() { err = datagrams(10) })
		if err != nil {
			return err
		}
		if err := await(func() bool {
			text, err := os.ReadFile(table)
			return err == nil && strings.HasPrefix(string(text), "src=127.0.0.1 ")
		}); err != nil {
			return fmt.Errorf("a packet in its table: %w", err)
		}
		used.Add(1)
		late.Go(func() { ns.do(func() { datagrams(50) }) }) // on their way when it goes
	}
	return detach(name)
}

// datagrams sends some to a port of the loopback device that nobody listens on.
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

// await waits until something is so.
func await(so func() bool) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			return fmt.Errorf("not there after %v", patience)
		}
	}
	return nil
}

// descriptors is how many the daemon has open.
func (d *daemon) descriptors() int {
	d.t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(files)
}
