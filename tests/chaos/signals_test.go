package chaos

import (
	"fmt"
	"testing"

	"recentfs/tests/lab"
)

// calls are what a client can ask of the mount.
var calls = []string{
	"open", "read", "readv", "write", "stat", "getdents", "readlink", "lseek", "truncate", "chmod", "chown", "getxattr",
	"setxattr", "fsync", "flock", "poll", "statfs", "access", "create", "uring read", "uring write",
}

// nobody is a user without any right.
const nobody = 65534

// TestSignals has clients of another user call while a signal comes every millisecond.
func TestSignals(t *testing.T) {
	w := startWorld(t)
	var all []*process
	for _, call := range calls {
		all = append(all, w.startClient(nobody, "signals", fmt.Sprint(lab.Soak(1500, 60000)), call))
	}
	for _, p := range all {
		t.Logf("%s: %s", p.Args[3], w.ends(p))
	}
	w.end()
}
