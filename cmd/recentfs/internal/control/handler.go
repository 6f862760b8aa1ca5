package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// handler answers requests of one kind.
type handler struct {
	work   func(w io.Writer, r *http.Request) error
	atWork chan struct{} // holds an element for each request at work
	body   bool          // a request has one
	change bool          // only some may ask for it: peer.mayChange
}

func newHandler(d Daemon) http.Handler {
	rules := func(w io.Writer, r *http.Request) error { return d.Rules(w, r.URL.Query().Get("netns")) }
	reload := func(w io.Writer, _ *http.Request) error { return d.Reload(w) }
	save := func(io.Writer, *http.Request) error { return d.Save() }
	load := func(w io.Writer, r *http.Request) error {
		err := d.Import(w, r.Body, r.URL.Query().Get("netns"), int(connOf(r).peer.pid))
		_, _ = io.Copy(io.Discard, r.Body) // the client reads no answer before it has sent all
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /rules", &handler{rules, make(chan struct{}, maxRules), false, false})
	mux.Handle("POST /reload", &handler{reload, make(chan struct{}, maxReloads), false, true})
	mux.Handle("POST /save", &handler{save, make(chan struct{}, 1), false, true})
	mux.Handle("POST /import", &handler{load, make(chan struct{}, maxImports), true, true})
	return mux
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var text bytes.Buffer
	if h.body {
		r.Body = &arriving{r.Body, http.NewResponseController(w)}
	}
	err := h.do(&text, r)
	// From here on the client may be slow, not the work.
	connOf(r).reach(answering)
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(clientTime)); err != nil {
		return // the connection is closed
	}
	if err != nil {
		status := http.StatusInternalServerError
		if known := new(Error); errors.As(err, &known) {
			status = known.Status
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(text.Bytes()) // an error is the client's: it does not read
}

// do does the work of a request. Its text is kept until the work is done, so
// that a slow client holds no lock of the daemon.
func (h *handler) do(text io.Writer, r *http.Request) error {
	if h.change {
		if err := connOf(r).peer.check(r); err != nil {
			return err
		}
	}
	if r.ContentLength != 0 && !h.body {
		return &Error{http.StatusRequestEntityTooLarge, errors.New("a request has no body")}
	}
	if !h.begin(r.Context()) {
		return &Error{http.StatusServiceUnavailable, fmt.Errorf("recentfs is busy with %d requests like this: try again", cap(h.atWork))}
	}
	defer func() { <-h.atWork }()
	connOf(r).reach(atWork)
	return h.work(text, r)
}

// arriving is a request's body. Each part of it has clientTime to arrive.
type arriving struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read implements io.Reader.
func (a *arriving) Read(p []byte) (int, error) {
	if err := a.control.SetReadDeadline(time.Now().Add(clientTime)); err != nil {
		return 0, err
	}
	n, err := a.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &Error{http.StatusRequestTimeout, fmt.Errorf("the next part of the request did not come within %v", clientTime)}
	}
	return n, err
}

// begin waits for a request's turn and reports whether it has come. The wait ends
// when the client has gone, too.
func (h *handler) begin(client context.Context) bool {
	// First without client: one that has sent its request may close its side.
	select {
	case h.atWork <- struct{}{}:
		return true
	default:
	}
	turn, cancel := context.WithTimeout(client, clientTime)
	defer cancel()
	select {
	case h.atWork <- struct{}{}:
		return true
	case <-turn.Done():
		return false
	}
}
