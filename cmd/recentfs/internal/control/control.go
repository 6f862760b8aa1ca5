// Package control is how recentfs commands speak to a running recentfs: HTTP
// over a unix socket. Root may open it, the daemon's own user, and the group recentfs
// where there is one. Members of the group read, the others also change: the daemon asks
// the kernel who has connected.
//
//	GET  /rules[?netns=NAME]   the rules at work with their counters, as text
//	POST /reload               reads the rules and parameters again; what changes besides the rules, as text
//	POST /save                 saves the tables on the disk
//	POST /import[?netns=NAME]  merges the addresses of the body into the tables; what became of them, as text
//
// Nothing of this shows what is in a table, and only those who may do everything put
// something in. So no table's own permissions are asked here.
//
// An answer's status says whose fault an error is: 4xx is the asker's, 5xx is
// the daemon's. The body of an error says what is wrong, a line for each fault.
//
// No client can exhaust the daemon. A connection carries one request, which has
// a header of about maxHeader bytes, and a body only where one is named above. The
// request must arrive within clientTime, of a body each part within clientTime after
// the one before, and the client must read the answer within clientTime. There are at
// most maxConnections connections, and fewer where the process may have few descriptors. A new one replaces one of the user who has most of
// them, and of the process of that user which has most: one on which nothing has been
// sent, the oldest first, or if there is none, the one that has waited longest for its
// client or its turn. Root and the daemon's own user lose none while there is one of
// another. A request at work is never replaced. So silent clients cannot keep others
// out, nor can a process that connects in a loop, nor a user with many of them.
//
// The daemon works at maxRules requests for rules, maxReloads reloads and
// maxImports imports at once, which is less than maxConnections, so that there always is a connection to
// replace. Reloads wait for each other and may take as long as they take; the two
// are counted apart, so that no number of reloads keeps the rules from being
// shown. A request above these numbers waits clientTime for its turn, and is
// refused then.
package control

import (
	"io"
	"time"
)

const (
	maxConnections = 64
	maxRules       = 16
	maxReloads     = 32
	maxImports     = 4
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
	// Reload reads the rules and the parameters again, and writes what becomes of
	// parameters that changed. An error changes nothing.
	Reload(w io.Writer) error
	// Save saves all tables, and returns when they are on the disk.
	Save() error
	// Import merges what r has, which is for exchange.Decode, into tables of the
	// network namespace of that name, or where netns is empty, of that of a process.
	// It writes what became of it.
	Import(w io.Writer, r io.Reader, netns string, pid int) error
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
