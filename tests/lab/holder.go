package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Holder holds what daemons store by sd_notify(3), as systemd does for a service, and
// gives it to the next one.
type Holder struct {
	socket *net.UnixConn
	path   string

	mu     sync.Mutex
	stored map[string][]*os.File // guarded by mu
}

// NewHolder makes a holder until the end of the test.
func NewHolder(t testing.TB) *Holder {
	t.Helper()
	h := &Holder{path: filepath.Join(TempDir(t), "notify"), stored: make(map[string][]*os.File)}
	var err error
	if h.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for h.message() {
		}
	}()
	t.Cleanup(func() {
		h.socket.Close()
		<-done
		for name := range h.stored {
			h.drop(name)
		}
	})
	return h
}

// Start starts a daemon that is to store here, and gets what is stored.
func (h *Holder) Start(d *Daemon, args ...string) {
	d.T.Helper()
	d.Prepare = h.prepare
	d.Start(args...)
	// The race detector does not know that the daemon's messages come after its start.
	h.mu.Lock()
	h.mu.Unlock() //lint:ignore SA2001 see above
}

// Stored is how many descriptors are stored.
func (h *Holder) Stored() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, files := range h.stored {
		n += len(files)
	}
	return n
}

func (h *Holder) prepare(cmd *exec.Cmd) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for name, files := range h.stored {
		for _, f := range files {
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
			names = append(names, name)
		}
	}
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+h.path, fmt.Sprint("LISTEN_PID=", os.Getpid()),
		fmt.Sprint("LISTEN_FDS=", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
}

// message does what the next message says, until the socket is closed.
func (h *Holder) message() bool {
	text, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*16))
	n, nc, _, _, err := h.socket.ReadMsgUnix(text, control)
	if err != nil {
		return false
	}
	fields := make(map[string]string)
	for line := range strings.Lines(string(text[:n])) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[key] = value
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	name := fields["FDNAME"]
	if fields["FDSTOREREMOVE"] == "1" {
		h.drop(name)
	}
	messages, _ := unix.ParseSocketControlMessage(control[:nc])
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			h.stored[name] = append(h.stored[name], os.NewFile(uintptr(fd), name))
		}
	}
	return true
}

// drop closes what is stored under a name. mu is held, or nobody else is there.
func (h *Holder) drop(name string) {
	for _, f := range h.stored[name] {
		f.Close()
	}
	delete(h.stored, name)
}
