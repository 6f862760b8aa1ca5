package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// Client speaks to a running recentfs.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client of the socket at path. It connects anew for each
// request.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) }
	return &Client{path, http.Client{Transport: &http.Transport{
		DialContext: dial, DisableKeepAlives: true, ExpectContinueTimeout: 2 * clientTime, // a turn may take clientTime to come
	}}}
}

const (
	// dialTime is how long a client tries to connect while so many others wait
	// that the kernel refuses more (EAGAIN of unix_stream_connect).
	dialTime = 2 * time.Second
	dialRest = 2 * time.Millisecond
)

func dial(ctx context.Context, path string) (net.Conn, error) {
	for start := time.Now(); ; time.Sleep(dialRest) {
		c, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) || time.Since(start) >= dialTime {
			return c, err
		}
	}
}

// Rules writes the rules at work with their counters: those of the network
// namespace of that name, or all where netns is empty.
func (c *Client) Rules(w io.Writer, netns string) error {
	return c.request(w, &http.Request{Method: http.MethodGet, URL: of(netns, "/rules")})
}

// of is the path of what is asked of a network namespace.
func of(netns, path string) *url.URL {
	target := url.URL{Path: path}
	if netns != "" {
		target.RawQuery = url.Values{"netns": {netns}}.Encode()
	}
	return &target
}

// Reload has the daemon read its rules and parameters again, and returns when they
// are at work. It writes what becomes of parameters that changed.
func (c *Client) Reload(w io.Writer) error {
	return c.request(w, &http.Request{Method: http.MethodPost, URL: of("", "/reload")})
}

// Save has the daemon save its tables, and returns when they are on the disk.
func (c *Client) Save() error {
	return c.request(io.Discard, &http.Request{Method: http.MethodPost, URL: of("", "/save")})
}

// Import has the daemon merge what body has into the tables of the network namespace
// of that name, or of the caller's own. It writes what became of it. body has size
// bytes, for exchange.Decode. It sends them only once the daemon asks for them.
func (c *Client) Import(w io.Writer, body io.Reader, size int64, netns string) error {
	return c.request(w, &http.Request{
		Method: http.MethodPost, URL: of(netns, "/import"), Header: http.Header{"Expect": {"100-continue"}},
		Body: io.NopCloser(body), ContentLength: size,
	})
}

// request writes the answer to w. An answer that is an error is an Error.
func (c *Client) request(w io.Writer, r *http.Request) error {
	r.URL.Scheme, r.URL.Host = "http", "recentfs"
	r.ProtoMajor, r.ProtoMinor = 1, 1 // otherwise it does not wait for 100 Continue
	answer, err := c.http.Do(r)
	if err != nil {
		return c.explain(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return c.explain(err)
	}
	if answer.StatusCode != http.StatusOK {
		return &Error{answer.StatusCode, errors.New(strings.TrimSuffix(string(text), "\n"))}
	}
	_, err = w.Write(text)
	return err
}

// explain says why there is no answer.
func (c *Client) explain(err error) error {
	var failed *net.OpError
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: only root and the group %s may speak to a running recentfs: sudo usermod -aG %[2]s USER, and log in again", c.path, group)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: no recentfs answers there: start one with 'recentfs run', or name its --control", c.path)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%s: recentfs is busy, too many clients wait for it: try again", c.path)
	case errors.As(err, &failed) && failed.Op == "dial":
		return fmt.Errorf("%s: cannot connect: %w: name the socket of a running recentfs by --control", c.path, failed.Err)
	}
	return fmt.Errorf("%s: recentfs ended the connection without an answer: %w", c.path, err)
}
