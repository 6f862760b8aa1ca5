package control

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// fake is a Daemon whose answers a test decides.
type fake struct {
	rules  func(w io.Writer, netns string) error
	reload func(w io.Writer) error
	save   func() error
	load   func(w io.Writer, r io.Reader, netns string, pid int) error
}

func (f *fake) Rules(w io.Writer, netns string) error { return f.rules(w, netns) }
func (f *fake) Reload(w io.Writer) error              { return f.reload(w) }

func (f *fake) Save() error { return f.save() }

func (f *fake) Import(w io.Writer, r io.Reader, netns string, pid int) error {
	return f.load(w, r, netns, pid)
}

// quick is a Daemon that answers "rules" and "rules of NETNS".
func quick() *fake {
	return &fake{
		rules: func(w io.Writer, netns string) error {
			text := "rules"
			if netns != "" {
				text += " of " + netns
			}
			_, err := io.WriteString(w, text)
			return err
		},
		reload: func(w io.Writer) error {
			_, err := io.WriteString(w, "reloaded")
			return err
		},
		save: func() error { return nil },
		load: func(w io.Writer, r io.Reader, netns string, pid int) error {
			text, err := io.ReadAll(r)
			if err == nil {
				_, err = fmt.Fprintf(w, "%d bytes for %q, from %t", len(text), netns, pid == os.Getpid())
			}
			return err
		},
	}
}

// serve serves d on a socket until the test ends, and returns the socket's path.
func serve(t *testing.T, d Daemon) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	serveUntilEnd(t, s, d)
	return path
}

func serveUntilEnd(t *testing.T, s *Server, d Daemon) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(d) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// pipes is a listener whose connections are pipes, which need no real time: in a
// synctest bubble time passes as soon as everybody waits.
type pipes struct {
	arriving chan net.Conn
	closed   chan struct{}
}

func newPipes() *pipes {
	return &pipes{make(chan net.Conn), make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.arriving:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "pipes"} }

// newPipeServer is newServer for pipes, whose other ends are root's.
func newPipeServer(p *pipes) *Server {
	s := newServer(p)
	s.limiter.peerOf = func(net.Conn) peer { return peer{} }
	return s
}

// dial connects.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.arriving <- server
	return client
}

// ask sends a request on a connection and returns the answer's status and text.
func ask(c net.Conn, request string) (string, error) {
	if _, err := fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: recentfs\r\n\r\n", request); err != nil {
		return "", err
	}
	return answerOf(c)
}

// answerOf reads an answer.
func answerOf(c net.Conn) (string, error) {
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(answer.Body)
	return fmt.Sprint(answer.StatusCode, " ", string(text)), err
}
