package live

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// crowd is one table that many use at once: entries that stay, entries that come
// and go by writes and by packets, and rules that are loaded again and again.
type crowd struct {
	t      *testing.T
	file   string
	stay   []string // addresses as the lines have them, which nobody removes
	exact  bool     // each entry that stays appears exactly once in each dump
	stop   chan struct{}
	dumps  atomic.Int64
	lines  atomic.Int64
	writes atomic.Int64
}

const (
	crowdStay   = 60 // entries that stay
	crowdGuests = 30 // and that come and go: with the senders' within ip_list_tot
	// crowdReloads is how often the rules are loaded again. The test ends with
	// the last reload.
	crowdReloads = 30
)

// senders are the addresses that packets come from.
var senders = []string{"10.9.0.2", "10.9.0.11", "10.9.0.12", "10.9.0.13", "10.9.0.14"}

// reader dumps the file again and again, by reads of a size. It checks that no
// line is torn, and each dump.
func (c *crowd) reader(size int) {
	buf := make([]byte, size)
	for c.running() {
		fd, err := unix.Open(c.file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			c.t.Errorf("open: %v", err)
			return
		}
		var text []byte
		for {
			n, err := unix.Read(fd, buf)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				c.t.Errorf("read: %v", err)
			}
			if n <= 0 {
				break
			}
			text = append(text, buf[:n]...)
		}
		unix.Close(fd)
		c.check(string(text))
	}
}

func (c *crowd) check(text string) {
	seen := map[string]int{}
	for line := range strings.Lines(text) {
		entries, err := lab.ParseEntries(line)
		if err != nil {
			c.t.Errorf("torn line: %v", err)
			return
		}
		seen[entries[0].Src]++
		c.lines.Add(1)
	}
	c.dumps.Add(1)
	if !c.exact {
		return
	}
	for _, src := range c.stay {
		if seen[src] != 1 {
			c.t.Errorf("%s is in a dump %d times, want once", src, seen[src])
		}
	}
}

// writer adds guests and removes them, and adds stamps to those that stay.
func (c *crowd) writer(seed uint64) {
	g := rand.New(rand.NewPCG(*liveSeed, seed))
	for c.running() {
		text := "+" + c.stay[g.IntN(len(c.stay))]
		if g.IntN(2) == 0 {
			text = fmt.Sprintf("%c10.7.0.%d\n", "+-"[g.IntN(2)], g.IntN(crowdGuests))
		}
		fd, err := unix.Open(c.file, unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte(text))
			unix.Close(fd)
		}
		if err != nil {
			c.t.Errorf("write %q: %v", text, err)
			return
		}
		c.writes.Add(1)
	}
}

func (c *crowd) running() bool {
	select {
	case <-c.stop:
		return false
	default:
		return !c.t.Failed()
	}
}

// TestLiveConcurrency reads, writes, sends packets and reloads at the same time,
// at the kernel's table and at ours.
func TestLiveConcurrency(t *testing.T) {
	needKernel(t)
	l := lab.NewNetwork(t)
	rules := func(extra int) string {
		return fmt.Sprintf("*recent\n:QUEUE0 ACCEPT [0:0]\n:AUX%d - [0:0]\n-A QUEUE0 -m recent --set --name crowd\n-A QUEUE0 -j AUX%d\n"+
			"-A AUX%d -m recent --rcheck --hitcount %d --name crowd\nCOMMIT\n", extra, extra, extra, 1+extra%3)
	}
	for _, src := range senders[1:] {
		l.Client.Sh(t, "ip addr add "+src+"/24 dev eth0")
	}
	const kernelRules = `*mangle
:INPUT ACCEPT [0:0]
-A INPUT -p udp -m recent --set --name crowd
-A INPUT -p udp -m recent --rcheck --hitcount 2 --name crowd
-A INPUT -p udp --dport 1000:2000 -j NFQUEUE --queue-num 0
COMMIT
`
	l.Server.Sh(t, "iptables-legacy-restore -w <<'E'\n"+kernelRules+"E")
	d := lab.StartDaemon(t, l.Server, rules(0), "--compat", "modern")
	var kernel string
	l.Server.Do(func() error {
		kernel = fmt.Sprintf("/proc/%d/task/%d/net/xt_recent/crowd", os.Getpid(), unix.Gettid())
		return nil
	})

	stop := make(chan struct{})
	// The kernel may show an entry that stays twice, or not at all, when an
	// entry before it goes: recent_seq_start counts entries. Ours may not.
	theirs, ours := &crowd{t: t, file: kernel, stop: stop}, &crowd{t: t, file: d.File("crowd"), stop: stop, exact: true}
	var wg sync.WaitGroup
	for _, c := range []*crowd{theirs, ours} {
		for i := range crowdStay {
			src := fmt.Sprintf("10.6.0.%d", i)
			if i%4 == 3 {
				src = fmt.Sprintf("2001:0db8:0000:0000:0000:0000:0000:%04x", i)
			}
			c.stay = append(c.stay, src)
			if err := os.WriteFile(c.file, []byte("+"+src), 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, size := range []int{61, 4096, 1 << 17} {
			wg.Go(func() { c.reader(size) })
		}
		for seed := range uint64(2) {
			wg.Go(func() { c.writer(seed) })
		}
	}
	var sent int
	wg.Go(func() { sent = flood(l, stop) })
	// The same rules again, or nearly: the tables keep their entries.
	for i := range crowdReloads {
		d.SetRules(rules(i))
		d.Must("reload")
		l.Server.Sh(t, "iptables-legacy-restore -w <<'E'\n"+kernelRules+"E")
	}
	close(stop)
	wg.Wait()

	for _, c := range []*crowd{theirs, ours} {
		text, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		c.exact = true // nothing moves any more
		c.check(string(text))
		for _, src := range senders {
			if !strings.Contains(string(text), "src="+src+" ") {
				t.Errorf("%s: no entry of %s, which sent packets", c.file, src)
			}
		}
		t.Logf("%s: %d lines in %d dumps, %d writes", c.file, c.lines.Load(), c.dumps.Load(), c.writes.Load())
	}
	t.Logf("%d packets, %d reloads, seed %d", sent, crowdReloads, *liveSeed)
	if ours.dumps.Load() < 10 || ours.writes.Load() < 10 || theirs.dumps.Load() < 10 || sent < 100 || l.Server.Queues(t)[0] < 100 {
		t.Error("too few dumps, writes or packets: the comparison is weak")
	}
}

// flood sends datagrams from the client to ports of the server that nobody
// listens on until stop is closed, and returns how many went out.
func flood(l *lab.Network, stop <-chan struct{}) (sent int) {
	l.T.Helper()
	var fds []int
	err := l.Client.Do(func() error {
		for _, from := range senders {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				fds = append(fds, fd)
				err = unix.Bind(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(from).As4()})
			}
			if err != nil {
				return fmt.Errorf("socket of %s: %w", from, err)
			}
		}
		return nil
	})
	if err != nil {
		l.T.Error(err)
	}
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	// A few in a millisecond, so that packets leave the machine to the readers
	// and writers.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for port := 1000; !l.T.Failed(); port = 1000 + (port+1)%1000 {
		select {
		case <-stop:
			return sent
		case <-tick.C:
		}
		for _, fd := range fds {
			err := unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: port, Addr: lab.IPv4.Server.As4()})
			if err == nil {
				sent++
			} else if err != unix.ECONNREFUSED && err != unix.ENOBUFS { // an earlier packet's error
				l.T.Errorf("sending: %v", err)
			}
		}
	}
	return sent
}
