package control

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// peer is who has connected: what the process was when it called connect(2). It may
// have given the connection to another since, as it may any open file.
type peer struct {
	pid int32
	// uid is the user as this process's user namespace knows it: 0 is never the root
	// of a namespace inside.
	uid uint32
}

// peerOf asks the kernel. Where it does not tell, the peer is nobody.
func peerOf(c net.Conn) peer {
	p := peer{uid: math.MaxUint32} // (uid_t)-1, which no user has
	control(c, func(fd int) {
		if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p = peer{cred.Pid, cred.Uid}
		}
	})
	return p
}

// mayChange says whether the peer may change what the daemon does: root may, and the
// daemon's own user, who can do worse.
func (p peer) mayChange() bool { return p.uid == 0 || int(p.uid) == os.Geteuid() }

// check refuses a request for a change that the peer may not ask for.
func (p peer) check(r *http.Request) error {
	if p.mayChange() {
		return nil
	}
	what := strings.TrimPrefix(r.URL.Path, "/")
	return &Error{http.StatusForbidden, fmt.Errorf("only root may %s: sudo recentfs %[1]s", what)}
}
