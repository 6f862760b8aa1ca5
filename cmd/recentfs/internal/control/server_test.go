package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
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
				d.reload = func() error { return c.err }
			}
			client := NewClient(serve(t, d))
			var text strings.Builder
			for _, err := range []error{client.Rules(&text, ""), client.Rules(&text, "a b/&"), client.Reload()} {
				var got *Error
				switch {
				case c.err == nil && err != nil:
					t.Error(err)
				case c.err != nil && (!errors.As(err, &got) || got.Status != c.status || err.Error() != c.err.Error()):
					t.Errorf("%v, want status %d and %v", err, c.status, c.err)
				}
			}
			want := "rulesrules of a b/&"
			if c.err != nil {
				want = ""
			}
			if text.String() != want {
				t.Errorf("the rules are %q, want %q", &text, want)
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
		reload: func() error { t.Error("a reload was asked for"); return nil },
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

// TestNoServer has a client say why nobody answers.
func TestNoServer(t *testing.T) {
	path := t.TempDir() + "/c.sock"
	if err := NewClient(path).Reload(); err == nil || !strings.Contains(err.Error(), path+": no recentfs answers there: start one with 'recentfs run'") {
		t.Error(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	if err := NewClient(path).Reload(); err == nil || !strings.Contains(err.Error(), path+": recentfs ended the connection without an answer") {
		t.Error(err)
	}
}
