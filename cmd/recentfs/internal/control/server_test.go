package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestClient has the answers of a daemon arrive at a client, each error with
// its status.
func TestClient(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
	}{
		{"no error", nil, 0},
		{"no such namespace", &Error{http.StatusNotFound, errors.New("network namespace x has no rules")}, 404},
		{"bad rules", &Error{http.StatusUnprocessableEntity, errors.New("rules:4: unknown option")}, 422},
		{"stopping", &Error{http.StatusServiceUnavailable, errors.New("recentfs is stopping")}, 503},
		{"below another error", fmt.Errorf("reload: %w", &Error{http.StatusNotFound, errors.New("gone")}), 404},
		{"of nobody in particular", errors.New("queue 0: no memory\nand more"), 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := quick()
			if c.err != nil {
				d.rules = func(w io.Writer, _ string) error { fmt.Fprint(w, "half of the rules"); return c.err }
				d.reload = func(w io.Writer) error { fmt.Fprint(w, "half of it"); return c.err }
			}
			client := NewClient(serve(t, d))
			var text strings.Builder
			for _, err := range []error{client.Rules(&text, ""), client.Rules(&text, "a b/&"), client.Reload(&text)} {
				var got *Error
				switch {
				case c.err == nil && err != nil:
					t.Error(err)
				case c.err != nil && (!errors.As(err, &got) || got.Status != c.status || err.Error() != c.err.Error()):
					t.Errorf("%v, want status %d and %v", err, c.status, c.err)
				}
			}
			want := "rulesrules of a b/&reloaded"
			if c.err != nil {
				want = ""
			}
			if text.String() != want {
				t.Errorf("the answers are %q, want %q", &text, want)
			}
		})
	}
}

// TestBadRequests has requests refused that ask for nothing that there is, or
// that are too long.
func TestBadRequests(t *testing.T) {
	const post = "POST /reload HTTP/1.1\r\nHost: recentfs\r\n"
	path := serve(t, &fake{
		rules:  func(io.Writer, string) error { t.Error("rules were asked for"); return nil },
		reload: func(io.Writer) error { t.Error("a reload was asked for"); return nil },
	})
	for _, c := range []struct {
		name, request string
		status        string
	}{
		{"unknown path", "GET /rule HTTP/1.1\r\nHost: recentfs\r\n\r\n", "404"},
		{"wrong method", "GET /reload HTTP/1.1\r\nHost: recentfs\r\n\r\n", "405"},
		{"no HTTP", "rules\n", "400"},
		{"body", post + "Content-Length: 1\r\n\r\nx", "413"},
		{"endless body", post + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", "413"},
		{"enormous body", post + "Content-Length: 4000000000\r\n\r\nx", "413"},
		{"long header", post + "X: " + strings.Repeat("x", 4*maxHeader), "431"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, len("HTTP/1.1 404"))
			if _, err := io.ReadFull(conn, line); err != nil || !bytes.HasSuffix(line, []byte(" "+c.status)) {
				t.Errorf("the answer is %q, %v, want status %s", line, err, c.status)
			}
		})
	}
}

// TestNoAnswer has a client say why nobody answers.
func TestNoAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"nothing there", func(*testing.T, string) {}, "no recentfs answers there: start one with 'recentfs run'"},
		{"a socket without a listener", func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
		}, "no recentfs answers there: start one with 'recentfs run'"},
		{"a socket of another kind", func(t *testing.T, path string) {
			l, err := net.ListenPacket("unixgram", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "cannot connect: connect: protocol wrong type for socket: name the socket of a running recentfs by --control"},
		{"somebody who ends the connection", answers(""), "recentfs ended the connection without an answer"},
		{"half an answer", answers("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "recentfs ended the connection without an answer: unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir() + "/c.sock"
			c.make(t, path)
			var text strings.Builder
			if err := NewClient(path).Reload(&text); err == nil || !strings.Contains(err.Error(), path+": "+c.want) || text.Len() > 0 {
				t.Errorf("%v, want %q; it prints %q", err, c.want, &text)
			}
		})
	}
}

// answers listens at a path and gives a client that answer, whatever it asks.
func answers(text string) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			if text != "" {
				_, _ = c.Read(make([]byte, maxHeader))
				_, _ = io.WriteString(c, text)
			}
		}()
	}
}

// TestNoPermission has a client that may not connect.
func TestNoPermission(t *testing.T) {
	c := NewClient("c.sock")
	if err := c.explain(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}); err.Error() != "c.sock: only root and the group recentfs may speak to a running recentfs: sudo usermod -aG recentfs USER, and log in again" {
		t.Error(err)
	}
}

// crowded listens at path, where so many connections wait that there is room for no
// further one.
func crowded(t *testing.T, path string) (l net.Listener, waiting int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	if l, err = net.FileListener(file); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for ; ; waiting++ {
		c, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			return l, waiting
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

// TestCrowd has a client come while so many others wait that the kernel refuses
// more.
func TestCrowd(t *testing.T) {
	t.Run("for long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			path := t.TempDir() + "/c.sock"
			crowded(t, path)
			start := time.Now()
			if err := NewClient(path).Reload(io.Discard); err == nil || err.Error() != path+": recentfs is busy, too many clients wait for it: try again" {
				t.Error(err)
			}
			if took := time.Since(start); took < dialTime || took > 2*dialTime {
				t.Errorf("the client tried for %v, want %v", took, dialTime)
			}
			if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another recentfs is running") {
				t.Errorf("another server: %v", err)
			}
		})
	})
	t.Run("for a moment", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			path := t.TempDir() + "/c.sock"
			l, waiting := crowded(t, path)
			result := make(chan error, 1)
			go func() { result <- NewClient(path).Reload(io.Discard) }()
			synctest.Wait() // the client has tried
			for range waiting {
				if _, err := l.Accept(); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(dialRest) // of the bubble's time
			serveUntilEnd(t, newServer(l), quick())
			if err := <-result; err != nil {
				t.Error(err)
			}
		})
	})
}

// TestFewConnections leaves descriptors for a reload.
func TestFewConnections(t *testing.T) {
	for descriptors, want := range map[uint64]int{0: 1, 34: 4, 511: 63, 512: 64, 1 << 20: 64} {
		if got := connections(descriptors); got != want {
			t.Errorf("%d descriptors: %d connections, want %d", descriptors, got, want)
		}
	}
}
