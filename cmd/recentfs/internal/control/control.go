// Package control is how recentfs commands speak to a running recentfs: HTTP
// over a unix socket that only root may open.
//
//	GET  /rules[?netns=NAME]   the rules at work with their counters, as text
//	POST /reload               reads the rules again
//
// An answer's status says whose fault an error is: 4xx is the asker's, 5xx is
// the daemon's. The body of an error is one line that says what is wrong.
//
// No client can exhaust the daemon. A connection carries one request, which has
// no body and a header of about maxHeader bytes. The request must arrive within
// clientTime, and the client must read the answer within clientTime. There are at
// most maxConnections connections. A new one replaces the connection that has
// waited longest for its client, so that silent clients cannot keep others out.
// The daemon works at maxRequests requests at once and refuses more, so that
// there always is a connection to replace. The work itself has no time limit: a
// reload may take as long as it takes.
package control

import (
	"io"
	"time"
)

const (
	maxConnections = 64
	maxRequests    = 16
	maxHeader      = 4 << 10
	clientTime     = 10 * time.Second
	// closeTime is how long Close waits for requests at work.
	closeTime = time.Second
)

// Daemon is what a running recentfs does for its clients. Any number of
// goroutines may call it.
type Daemon interface {
	// Rules writes the rules at work with their counters: those of the network
	// namespace of that name, or all where name is empty.
	Rules(w io.Writer, netns string) error
	// Reload reads the rules again. An error changes nothing.
	Reload() error
}

// Error is an error with the HTTP status that says whose fault it is. A Daemon
// returns it, and so does a Client. Any other error of a Daemon gets status 500.
type Error struct {
	Status int
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the error without its status.
func (e *Error) Unwrap() error { return e.Err }
