package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowClients has connections end clientTime after they began to wait for
// their clients, whatever trickles in or out.
func TestSlowClients(t *testing.T) {
	for _, c := range []struct {
		name   string
		client func(net.Conn) // returns when the connection is closed
	}{
		{"says nothing", func(c net.Conn) { io.Copy(io.Discard, c) }},
		{"sends a byte a second", func(c net.Conn) {
			go io.Copy(io.Discard, c)
			for _, b := range []byte("GET /rules HTTP/1.1\r\nHost: recentfs\r\n\r\n") {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}},
		{"reads nothing", func(c net.Conn) {
			fmt.Fprint(c, "GET /rules HTTP/1.1\r\nHost: recentfs\r\n\r\n")
			<-time.After(clientTime + 1)
			for buf := make([]byte, 1<<10); ; {
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		}},
		{"reads a byte a second", func(c net.Conn) {
			fmt.Fprint(c, "GET /rules HTTP/1.1\r\nHost: recentfs\r\n\r\n")
			for buf := make([]byte, 1); ; {
				if _, err := c.Read(buf); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := quick()
				d.rules = func(w io.Writer, _ string) error {
					_, err := io.WriteString(w, strings.Repeat("rules\n", 1<<16))
					return err
				}
				l := newPipes()
				serveUntilEnd(t, newPipeServer(l), d)
				start := time.Now()
				c.client(l.dial())
				if took := time.Since(start); took < clientTime || took > clientTime+2*time.Second {
					t.Errorf("the connection was closed after %v, want %v", took, clientTime)
				}
			})
		})
	}
}

// TestLongReload has a reload take longer than any client may.
func TestLongReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		d.reload = func(io.Writer) error { time.Sleep(100 * clientTime); return nil }
		l := newPipes()
		serveUntilEnd(t, newPipeServer(l), d)
		if answer, err := ask(l.dial(), "POST /reload"); answer != "200 " || err != nil {
			t.Errorf("%q, %v", answer, err)
		}
	})
}

// TestConnections has more connections than there may be: a new one takes the
// place of the one that has waited longest for its client, and of none that
// waits for the daemon.
func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		reloaded := make(chan struct{})
		d.reload = func(io.Writer) error { <-reloaded; return nil }
		l := newPipes()
		s := newPipeServer(l)
		serveUntilEnd(t, s, d)
		count := func() int {
			synctest.Wait()
			s.limiter.mu.Lock()
			defer s.limiter.mu.Unlock()
			return len(s.limiter.open)
		}

		answers := make(chan string, 1)
		go func() {
			answer, err := ask(l.dial(), "POST /reload")
			answers <- fmt.Sprint(answer, err)
		}()
		synctest.Wait()
		var silent []net.Conn
		for range 10 * maxConnections {
			silent = append(silent, l.dial())
		}
		if n := count(); n != maxConnections {
			t.Errorf("%d connections are open, want %d", n, maxConnections)
		}
		for i, c := range silent {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			if open, want := !errors.Is(err, io.EOF), i > len(silent)-maxConnections; open != want {
				t.Fatalf("connection %d of %d is open: %v (%v), want %v", i, len(silent), open, err, want)
			}
		}
		if answer, err := ask(l.dial(), "GET /rules"); answer != "200 rules" || err != nil {
			t.Errorf("the newest client got %q, %v", answer, err)
		}
		close(reloaded)
		if got := <-answers; got != "200 <nil>" {
			t.Errorf("the client that waited for its reload got %q", got)
		}
		// Time passes.
		for _, c := range silent {
			c.SetReadDeadline(time.Time{})
			io.Copy(io.Discard, c)
		}
		if n := count(); n != 0 {
			t.Errorf("%d connections are open when all clients are gone", n)
		}
	})
}

// TestBusy has more reloads at once than the daemon takes: the others are refused
// after a while. Rules are shown all the same.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := quick()
		reloaded := make(chan struct{})
		d.reload = func(io.Writer) error { <-reloaded; return nil }
		l := newPipes()
		serveUntilEnd(t, newPipeServer(l), d)
		answers := make(chan string, maxReloads)
		for range maxReloads {
			go func() {
				answer, err := ask(l.dial(), "POST /reload")
				answers <- fmt.Sprint(answer, err)
			}()
		}
		synctest.Wait()
		for range 2 * maxConnections { // and they do not add up
			if answer, err := ask(l.dial(), "POST /reload"); err != nil || answer != "503 recentfs is busy with 32 requests like this: try again\n" {
				t.Fatalf("a reload too many: %q, %v", answer, err)
			}
			if answer, err := ask(l.dial(), "GET /rules"); answer != "200 rules" || err != nil {
				t.Fatalf("rules: %q, %v", answer, err)
			}
		}
		close(reloaded)
		for range maxReloads {
			if got := <-answers; got != "200 <nil>" {
				t.Errorf("a reload: %s", got)
			}
		}
	})
}

// TestTurn has as many requests at once as there may be connections. Those that the
// daemon does not take at once wait for their turn, and none is refused.
func TestTurn(t *testing.T) {
	for _, request := range []string{"POST /reload", "GET /rules"} {
		t.Run(request, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := quick()
				d.rules = func(io.Writer, string) error { time.Sleep(time.Second); return nil }
				d.reload = func(io.Writer) error { time.Sleep(time.Second); return nil }
				l := newPipes()
				serveUntilEnd(t, newPipeServer(l), d)
				answers := make(chan string, maxConnections)
				for range maxConnections {
					go func() {
						answer, err := ask(l.dial(), request)
						answers <- fmt.Sprint(answer, err)
					}()
				}
				for range maxConnections {
					if got := <-answers; got != "200 <nil>" {
						t.Error(got)
					}
				}
			})
		})
	}
}

// TestClose closes a server while one client says nothing and another waits
// for its reload: the first does not hold it up, the second gets its answer.
func TestClose(t *testing.T) {
	for _, c := range []struct {
		name        string
		reload      time.Duration
		least, most time.Duration // of the time that it takes
		answer      string
	}{
		{"quick reload", closeTime / 10, closeTime / 10, closeTime / 2, "200 "},
		{"reload without end", 100 * closeTime, closeTime, 2 * closeTime, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := quick()
				d.reload = func(io.Writer) error { time.Sleep(c.reload); return nil }
				l := newPipes()
				s := newPipeServer(l)
				ended := make(chan error, 1)
				go func() { ended <- s.Serve(d) }()
				l.dial()
				answer := make(chan string, 1)
				go func() {
					text, _ := ask(l.dial(), "POST /reload")
					answer <- text
				}()
				synctest.Wait()
				start := time.Now()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took < c.least || took > c.most {
					t.Errorf("it took %v, want %v to %v", took, c.least, c.most)
				}
				if got := <-answer; got != c.answer {
					t.Errorf("the reload's answer is %q, want %q", got, c.answer)
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
				time.Sleep(c.reload) // a bubble ends when all in it has
			})
		})
	}
}

// TestCloseWhileAnswering closes a server while a client reads its answer, which
// arrives all the same.
func TestCloseWhileAnswering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Repeat("rules\n", 1<<16)
		d := quick()
		d.rules = func(w io.Writer, _ string) error { _, err := io.WriteString(w, text); return err }
		l := newPipes()
		s := newPipeServer(l)
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(d) }()
		c := l.dial()
		fmt.Fprint(c, "GET /rules HTTP/1.1\r\nHost: recentfs\r\n\r\n")
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		if rest, err := io.ReadAll(c); err != nil || !strings.Contains(string(rest), text[:1000]) || len(rest) < len(text) {
			t.Errorf("%d bytes of the answer arrived, %v, want more than %d", len(rest), err, len(text))
		}
		for _, err := range []error{<-closed, <-ended} {
			if err != nil {
				t.Error(err)
			}
		}
	})
}
