package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// handler answers requests.
type handler struct {
	atWork chan struct{} // holds an element for each request at work
}

func newHandler(d Daemon) http.Handler {
	h := &handler{atWork: make(chan struct{}, maxRequests)}
	mux := http.NewServeMux()
	mux.Handle("GET /rules", h.answer(func(w io.Writer, r *http.Request) error {
		return d.Rules(w, r.URL.Query().Get("netns"))
	}))
	mux.Handle("POST /reload", h.answer(func(io.Writer, *http.Request) error { return d.Reload() }))
	return mux
}

// answer makes a handler of what a request asks for.
func (h *handler) answer(work func(w io.Writer, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var text bytes.Buffer
		err := h.do(&text, r, work)
		// From here on the client may be slow, not the work.
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
	})
}

// do does the work of a request. Its text is kept until the work is done, so
// that a slow client holds no lock of the daemon.
func (h *handler) do(text io.Writer, r *http.Request, work func(io.Writer, *http.Request) error) error {
	if r.ContentLength != 0 {
		return &Error{http.StatusRequestEntityTooLarge, errors.New("a request has no body")}
	}
	select {
	case h.atWork <- struct{}{}:
		defer func() { <-h.atWork }()
	default:
		return &Error{http.StatusServiceUnavailable, fmt.Errorf("recentfs is busy with %d requests: try again", maxRequests)}
	}
	c := connOf(r)
	c.setBusy(true)
	defer c.setBusy(false)
	return work(text, r)
}
