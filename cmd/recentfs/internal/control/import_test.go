package control

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// TestImport sends bodies of all sizes. The daemon reads all of one, a part, or
// nothing, and each client gets its answer.
func TestImport(t *testing.T) {
	refusal := &Error{http.StatusNotFound, errors.New("there is no table \"T\"")}
	for _, c := range []struct {
		name string
		size int64
		load func(r io.Reader) error
	}{
		{"nothing", 0, nil},
		{"a line", 30, nil},
		{"many lines", 10 << 20, nil},
		{"refused at once", 10 << 20, func(io.Reader) error { return refusal }},
		{"refused after the first line", 10 << 20, func(r io.Reader) error {
			_, err := io.ReadFull(r, make([]byte, 100))
			return errors.Join(refusal, err)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := quick()
			if c.load != nil {
				d.load = func(_ io.Writer, r io.Reader, _ string, _ int) error { return c.load(r) }
			}
			var out strings.Builder
			err := NewClient(serve(t, d)).Import(&out, io.LimitReader(zeroes{}, c.size), c.size, "red")
			if want := fmt.Sprintf("%d bytes for \"red\", from true", c.size); c.load == nil && (err != nil || out.String() != want) {
				t.Errorf("%v, %q, want %q", err, &out, want)
			}
			if c.load != nil && (err == nil || err.Error() != refusal.Error()) {
				t.Errorf("%v, want %v", err, refusal)
			}
		})
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestImportBroken has a client that cannot read what it is to send.
func TestImportBroken(t *testing.T) {
	var out strings.Builder
	err := NewClient(serve(t, quick())).Import(&out, iotest.ErrReader(os.ErrClosed), 5, "")
	if !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

// TestSlowBody sends a body in parts. It may take long in all, but not between two
// parts.
func TestSlowBody(t *testing.T) {
	for _, c := range []struct {
		name string
		each time.Duration
		want string
	}{
		{"slow", clientTime - time.Second, `200 100 bytes for "", from `},
		{"too slow", clientTime + time.Second, "408 the next part of the request did not come within 10s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				serveUntilEnd(t, newPipeServer(l), quick())
				client := l.dial()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					fmt.Fprint(client, "POST /import HTTP/1.1\r\nHost: recentfs\r\nContent-Length: 100\r\n\r\n")
					for range 10 {
						time.Sleep(c.each)
						if _, err := client.Write(make([]byte, 10)); err != nil {
							return
						}
					}
				}()
				text, err := answerOf(client)
				if err != nil || !strings.HasPrefix(text, c.want) {
					t.Errorf("%q, %v, want %q", text, err, c.want)
				}
				client.Close()
				<-sent
			})
		})
	}
}
