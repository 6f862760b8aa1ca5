package control

import (
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"recentfs/tests/lab"
)

// TestWhoMay has different users ask for everything there is.
func TestWhoMay(t *testing.T) {
	own := uint32(os.Geteuid())
	for _, c := range []struct {
		name string
		uid  uint32
		may  bool
	}{
		{"root", 0, true},
		{"the daemon's user", own, true},
		{"another user", own + 1, false},
		{"the user of unmapped numbers", 65534, false},
		{"nobody knows who", math.MaxUint32, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				s := newServer(l)
				s.limiter.peerOf = func(net.Conn) peer { return peer{1, c.uid} }
				done := 0
				d := quick()
				d.reload = func(io.Writer) error { done++; return nil }
				d.save = func() error { done++; return nil }
				d.load = func(io.Writer, io.Reader, string, int) error { done++; return nil }
				serveUntilEnd(t, s, d)
				if got, err := ask(l.dial(), "GET /rules"); err != nil || got != "200 rules" {
					t.Errorf("rules: %q, %v", got, err)
				}
				changes := []string{"reload", "save", "import"}
				for _, what := range changes {
					want := "200 "
					if !c.may {
						want = fmt.Sprintf("403 only root may %s: sudo recentfs %[1]s\n", what)
					}
					if got, err := ask(l.dial(), "POST /"+what); err != nil || got != want {
						t.Errorf("%s: %q, %v, want %q", what, got, err, want)
					}
				}
				if want := map[bool]int{true: len(changes)}[c.may]; done != want {
					t.Errorf("%d changes were made, want %d", done, want)
				}
			})
		})
	}
}

// TestWhoConnected has a user connect, and root ask: it counts who has connected.
func TestWhoConnected(t *testing.T) {
	lab.NeedRoot(t)
	const other = 65534
	path := filepath.Join(lab.TempDir(t), "c.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	serveUntilEnd(t, s, quick())
	if err := os.Chmod(path, 0o666); err != nil { // the other is in the group
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		first, now uint32
		want       string
	}{
		{"a user gives root the connection", other, 0, "403 only root may reload: sudo recentfs reload\n"},
		{"root gives a user the connection", 0, other, "200 reloaded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conn net.Conn
			lab.As(t, c.first, func() { conn, err = net.Dial("unix", path) })
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var got string
			lab.As(t, c.now, func() { got, err = ask(conn, "POST /reload") })
			if err != nil || got != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// TestNobody has no kernel that tells who connects.
func TestNobody(t *testing.T) {
	c, _ := net.Pipe()
	if p := peerOf(c); p.mayChange() || p.uid == 0 {
		t.Errorf("it is %v, and may change things", p)
	}
}

// TestImportRefused has a user send far more than may be: the client sends nothing of
// it, and says why not.
func TestImportRefused(t *testing.T) {
	path := t.TempDir() + "/c.sock"
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s.limiter.peerOf = func(net.Conn) peer { return peer{1, uint32(os.Geteuid()) + 1} }
	serveUntilEnd(t, s, &fake{})
	body := &countReads{}
	err = NewClient(path).Import(io.Discard, body, 1<<40, "")
	if err == nil || !strings.Contains(err.Error(), "only root may import: sudo recentfs import") || body.n > 0 {
		t.Errorf("%v; %d reads of the body", err, body.n)
	}
}

// countReads is an endless body.
type countReads struct{ n int }

func (c *countReads) Read(p []byte) (int, error) { c.n++; return len(p), nil }
