package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// outliveRules stamp each packet's source in two tables.
const outliveRules = `*recent
:QUEUE0 DROP [0:0]
-A QUEUE0 -m recent --name a --set
-A QUEUE0 -m recent --name b --set -j ACCEPT
-A QUEUE0 -m recent --name w --rcheck
COMMIT
`

// load is what goes on while daemons end and others go on: packets, a writer, and a
// reader of an open file. Each packet has a source of its own, and each write an
// address of its own.
type load struct {
	*testing.T
	daemon   *lab.Daemon
	stop     atomic.Bool
	done     []chan struct{}
	sent     atomic.Uint32
	received []bool // by number
	got      atomic.Uint32
	written  atomic.Uint32
	reads    atomic.Uint32
	sources  *lab.Sources
	receiver int
}

// window is how many packets may be under way: fewer than a queue holds.
const window = 2000

func startLoad(t *testing.T, d *lab.Daemon) *load {
	l := &load{T: t, daemon: d, received: make([]bool, 1<<24)}
	d.NS.Sh(t, "iptables-legacy -t mangle -A INPUT -p udp -j NFQUEUE --queue-num 0")
	l.sources = d.NS.NewSources(t)
	if err := d.NS.Do(func() (err error) {
		if l.receiver, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.Bind(l.receiver, &unix.SockaddrInet4{Port: 7, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(l.receiver, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
			return err
		}
		wait := unix.NsecToTimeval(int64(10 * time.Millisecond))
		return unix.SetsockoptTimeval(l.receiver, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	}); err != nil {
		t.Fatal(err)
	}
	for _, work := range []func() error{l.send, l.receive, l.write, l.read} {
		done := make(chan struct{})
		l.done = append(l.done, done)
		go func() {
			defer close(done)
			if err := work(); err != nil {
				t.Error(err)
			}
		}()
	}
	return l
}

// source is the source of packet n, and the address of write n.
func source(net byte, n uint32) [4]byte { return [4]byte{net, byte(n >> 16), byte(n >> 8), byte(n)} }

func (l *load) send() error {
	var text [4]byte
	for n := uint32(256); !l.stop.Load(); {
		if l.sent.Load()-l.got.Load() >= window {
			time.Sleep(time.Millisecond) // the daemon is away
			continue
		}
		binary.BigEndian.PutUint32(text[:], n)
		if err := l.sources.Send(source(127, n), 7, text[:]); err != nil {
			return fmt.Errorf("packet %d: %w", n, err)
		}
		l.sent.Add(1)
		n++
	}
	return nil
}

func (l *load) receive() error {
	var b [8]byte
	for idle := 0; !l.stop.Load() || l.got.Load() != l.sent.Load() && idle < 500; {
		n, _, err := unix.Recvfrom(l.receiver, b[:], 0)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			idle++
			continue
		case err != nil || n != 4:
			return fmt.Errorf("received %d bytes: %v", n, err)
		}
		idle = 0
		number := binary.BigEndian.Uint32(b[:])
		if l.received[number] {
			return fmt.Errorf("packet %d came twice", number)
		}
		l.received[number] = true
		l.got.Add(1)
	}
	return nil
}

func (l *load) write() error {
	for n := uint32(0); !l.stop.Load(); n++ {
		a := source(10, n)
		if err := os.WriteFile(l.daemon.File("w"), fmt.Appendf(nil, "+%d.%d.%d.%d", a[0], a[1], a[2], a[3]), 0); err != nil {
			return fmt.Errorf("write %d: %w", n, err)
		}
		l.written.Store(n + 1)
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}

// read reads one open file again and again.
func (l *load) read() error {
	f, err := os.Open(l.daemon.File("w"))
	if err != nil {
		return err
	}
	defer f.Close()
	for ; !l.stop.Load(); l.reads.Add(1) {
		before := int(l.written.Load())
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		text, err := io.ReadAll(f)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n := strings.Count(string(text), "\n"); n < before {
			return fmt.Errorf("%d addresses were written, and %d read", before, n)
		}
	}
	return nil
}

// goOn waits for some more packets.
func (l *load) goOn() {
	l.Helper()
	some := l.got.Load() + 100 + rand.Uint32N(3000)
	lab.Eventually(l, "packets go on", func() error {
		if n := l.got.Load(); n < some {
			return fmt.Errorf("%d of %d:\n%s", n, some, &l.daemon.Output)
		}
		return nil
	})
}

// end ends the load, and looks whether everything is there, once.
func (l *load) end() {
	l.Helper()
	l.stop.Store(true)
	for _, done := range l.done {
		<-done
	}
	unix.Close(l.receiver)
	sent, got, written := l.sent.Load(), l.got.Load(), l.written.Load()
	if sent != got {
		l.Errorf("of %d packets %d arrived", sent, got)
	}
	for table, want := range map[string]struct {
		n     uint32
		first [4]byte
	}{"a": {sent, source(127, 256)}, "b": {sent, source(127, 256)}, "w": {written, source(10, 0)}} {
		seen := make(map[string]bool)
		for _, e := range l.daemon.Read(table) {
			if len(e.Stamps) != 1 {
				l.Errorf("table %s: %+v", table, e)
			}
			seen[e.Src] = true
		}
		if len(seen) != int(want.n) {
			l.Errorf("table %s has %d addresses, want %d", table, len(seen), want.n)
		}
	}
	l.Logf("%d packets, %d writes, %d reads", sent, written, l.reads.Load())
}
