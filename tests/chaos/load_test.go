package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"recentfs/tests/lab"
)

// load is what goes on all the time: packets, each of which is awaited, a reader and a
// writer. An error of theirs fails the test, unless it is expected.
type load struct {
	stop                   chan struct{}
	working                sync.WaitGroup
	packets, reads, writes atomic.Int64
	expected               atomic.Pointer[func(error) bool]
	end                    func()
}

// pause is between two packets, reads or writes: the load is light.
const pause = 3 * time.Millisecond

func (w *world) startLoad() {
	w.Helper()
	w.d.NS.Sh(w, "iptables-legacy -w -t mangle -A INPUT -p udp --dport 7 -j NFQUEUE --queue-num 0")
	var server, client net.PacketConn
	if err := w.d.NS.Do(func() (err error) {
		if server, err = net.ListenPacket("udp4", "127.0.0.1:7"); err == nil {
			client, err = net.ListenPacket("udp4", "127.0.0.1:0")
		}
		return err
	}); err != nil {
		w.Fatal(err)
	}
	l := &load{stop: make(chan struct{})}
	l.expect(nil)
	w.load = l
	for _, work := range []struct {
		name string
		done *atomic.Int64
		do   func() error
	}{
		{"packet", &l.packets, func() error { return knock(client, server) }},
		{"read", &l.reads, func() error { return readTable(w.file("w")) }},
		{"write", &l.writes, func() error {
			n := l.writes.Load()
			return os.WriteFile(w.file("w"), fmt.Appendf(nil, "+10.0.%d.%d", n>>8&1, n&255), 0)
		}},
	} {
		l.working.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(pause):
				}
				err := work.do()
				if expected := *l.expected.Load(); err == nil {
					work.done.Add(1)
				} else if (expected == nil || !expected(err)) && !w.Failed() { // the first one says enough
					w.Errorf("%s %d: %v; the daemon said\n%s", work.name, work.done.Load(), err, tail(w.d.Output.String()))
				}
			}
		})
	}
	l.end = sync.OnceFunc(func() {
		close(l.stop)
		l.working.Wait()
		server.Close()
		client.Close()
	})
	w.Cleanup(l.end)
}

// expect says which errors of the load are right meanwhile; nil: none.
func (l *load) expect(expected func(error) bool) { l.expected.Store(&expected) }

// knock sends a packet and waits for it, as long as it takes: a daemon that is stopped
// makes it wait.
func knock(client, server net.PacketConn) error {
	if _, err := client.WriteTo([]byte("knock"), server.LocalAddr()); err != nil {
		return err
	}
	if err := server.SetReadDeadline(time.Now().Add(2*lab.Patience + stopped)); err != nil {
		return err
	}
	_, _, err := server.ReadFrom(make([]byte, 8))
	return err
}

var errNoTable = errors.New("this is no table")

// readTable reads a table's file, which must have whole lines.
func readTable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err == nil && len(text) > 0 && (!bytes.HasPrefix(text, []byte("src=")) || text[len(text)-1] != '\n') {
		err = fmt.Errorf("%w: %s has %.100q", errNoTable, path, text)
	}
	return err
}
