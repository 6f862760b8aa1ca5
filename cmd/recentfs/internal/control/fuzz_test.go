package control

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sirupsen/logrus"
)

// FuzzRequests sends the server anything, by one connection or several at a time, as root
// or as another user. Whatever it makes of that, it answers the next request, and another
// user has changed nothing.
func FuzzRequests(f *testing.F) {
	logrus.SetOutput(io.Discard)
	defer logrus.SetOutput(os.Stderr)
	path := f.TempDir() + "/c.sock"
	s, err := Listen(path)
	if err != nil {
		f.Fatal(err)
	}
	var changed atomic.Bool // and uid: the race detector does not see what comes by sockets
	var uid atomic.Uint32
	d := quick()
	reload, save, load := d.reload, d.save, d.load
	d.reload = func(w io.Writer) error { changed.Store(true); return reload(w) }
	d.save = func() error { changed.Store(true); return save() }
	d.load = func(w io.Writer, r io.Reader, netns string, pid int) error {
		changed.Store(true)
		return load(w, r, netns, pid)
	}
	s.limiter.peerOf = func(net.Conn) peer { return peer{uid: uid.Load()} }
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(d) }()
	defer func() { s.Close(); <-ended }()

	f.Fuzz(func(t *testing.T, other bool, text []byte) {
		changed.Store(false)
		uid.Store(0)
		if other {
			uid.Store(uint32(os.Geteuid()) + 1)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(text[:min(len(text), 64<<10)]) // it may have had enough
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn) // until it has answered, or closed
		if changed.Load() && other {
			t.Fatalf("another user has changed something by %q", text)
		}
		var answer strings.Builder
		if err := NewClient(path).Rules(&answer, ""); err != nil || answer.String() != "rules" {
			t.Fatalf("after %q the next client gets %q, %v", text, &answer, err)
		}
		s.limiter.mu.Lock()
		defer s.limiter.mu.Unlock()
		if n := len(s.limiter.open); n > 2 { // the two may not be done yet
			t.Fatal(fmt.Sprint(n, " connections are open"))
		}
	})
}
