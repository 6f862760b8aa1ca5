package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// handler answers requests of one kind.
type handler struct {
	work   func(w io.Writer, r *http.Request) error
	atWork chan struct{} // holds an element for each request at work
}

func newHandler(d Daemon) http.Handler {
	rules := func(w io.Writer, r *http.Request) error { return d.Rules(w, r.URL.Query().Get("netns")) }
	reload := func(w io.Writer, _ *http.Request) error { return d.Reload(w) }
	save := func(io.Writer, *http.Request) error { return d.Save() }
	mux := http.NewServeMux()
	mux.Handle("GET /rules", &handler{rules, make(chan struct{}, maxRules)})
	mux.Handle("POST /reload", &handler{reload, make(chan struct{}, maxReloads)})
	mux.Handle("POST /save", &handler{save, make(chan struct{}, 1)})
	return mux
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var text bytes.Buffer
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
	if r.ContentLength != 0 {
		return &Error{http.StatusRequestEntityTooLarge, errors.New("a request has no body")}
	}
	if !h.begin(r.Context()) {
		return &Error{http.StatusServiceUnavailable, fmt.Errorf("recentfs is busy with %d requests like this: try again", cap(h.atWork))}
	}
	defer func() { <-h.atWork }()
	connOf(r).reach(atWork)
	return h.work(text, r)
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
