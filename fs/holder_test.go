package fs

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// holder holds the descriptors of a mount, and starts one server after the other.
type holder struct {
	t      *testing.T
	base   string
	tables string
	held   []*os.File
	server *exec.Cmd
	socket *os.File // to the server
}

// newHolder starts the first server.
func newHolder(t *testing.T, tables string) *holder {
	t.Helper()
	lab.NeedRoot(t)
	h := &holder{t: t, base: lab.TempDir(t), tables: tables}
	// The regions are on a tmpfs. The mount is not, so that it can be detached first.
	if err := errors.Join(os.Mkdir(h.live(), 0o700), unix.Mount("live", h.live(), "tmpfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.kill()
		h.drop()
		unix.Unmount(h.dir(), unix.MNT_DETACH)
		unix.Unmount(h.live(), unix.MNT_DETACH)
	})
	h.start("")
	if said := h.ready(); said != "ready" {
		t.Fatalf("the first server says %q", said)
	}
	return h
}

func (h *holder) live() string             { return filepath.Join(h.base, "live") }
func (h *holder) dir() string              { return filepath.Join(h.base, "mnt") }
func (h *holder) path(table string) string { return filepath.Join(h.dir(), table) }

// drop closes what is held, which ends the mount if no server has it.
func (h *holder) drop() {
	for _, f := range h.held {
		f.Close()
	}
	h.held = nil
}

// start starts a server. It may kill itself at a request.
func (h *holder) start(die string) {
	h.t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	defer theirs.Close()
	h.socket = os.NewFile(uintptr(pair[0]), "socket")
	h.server = exec.Command("/proc/self/exe")
	h.server.Env = append(os.Environ(), outliveEnv+"="+h.base, dieEnv+"="+die, tablesEnv+"="+h.tables, leftEnv+"="+strings.Repeat("x", len(h.held)))
	h.server.ExtraFiles = append([]*os.File{theirs}, h.held...)
	h.server.Stderr = os.Stderr
	h.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.server.Start(); err != nil {
		h.t.Fatal(err)
	}
}

// ready waits until the server answers, and takes what the next one needs. It returns
// "ready", or why the mount is another one, or "" if the server has ended.
func (h *holder) ready() string {
	h.t.Helper()
	text, rights := make([]byte, 1000), make([]byte, unix.CmsgSpace(2*4))
	n, m, _, _, err := unix.Recvmsg(int(h.socket.Fd()), text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		h.t.Fatal(err)
	}
	if n == 0 {
		return ""
	}
	messages, err := unix.ParseSocketControlMessage(rights[:m])
	if err != nil || len(messages) != 1 {
		h.t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		h.t.Fatal(err)
	}
	h.drop()
	for _, fd := range fds {
		h.held = append(h.held, os.NewFile(uintptr(fd), "held"))
	}
	return string(text[:n])
}

// next starts a server that must go on with the mount.
func (h *holder) next() {
	h.t.Helper()
	h.start("")
	if said := h.ready(); said != "ready" {
		h.t.Fatalf("the next server says %q", said)
	}
}

// kill kills the server.
func (h *holder) kill() {
	_ = h.server.Process.Kill()
	_ = h.server.Wait()
	h.socket.Close()
}

// leave has the server leave.
func (h *holder) leave() {
	h.t.Helper()
	if _, err := h.socket.WriteString("leave"); err != nil {
		h.t.Fatal(err)
	}
	if err := h.server.Wait(); err != nil {
		h.t.Fatalf("the server that was to leave: %v", err)
	}
	h.socket.Close()
}

// sh runs a shell script in the mount, and returns what it printed. This process must
// not wait for an answer of the mount itself: nobody could kill it.
func (h *holder) sh(script string) string {
	h.t.Helper()
	var out []byte
	done := make(chan error, 1)
	go func() {
		cmd := exec.Command("sh", "-ec", "cd "+h.dir()+"; "+script)
		cmd.Stderr = os.Stderr
		var err error
		out, err = cmd.Output()
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			h.t.Fatalf("%s: %v", script, err)
		}
	case <-time.After(lab.Patience):
		h.t.Fatalf("%s: it hangs", script)
	}
	return string(out)
}

// session is a shell in the mount that gets one script after the other.
type session struct {
	h   *holder
	in  io.Writer
	out *bufio.Reader
}

func (h *holder) session() *session {
	h.t.Helper()
	cmd := exec.Command("sh", "-c", "cd "+h.dir()+"; while read -r script; do eval \"$script\" 2>&1; echo end; done")
	in, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		h.kill()
		h.drop() // so that nobody waits in the kernel
		kill(cmd)
	})
	return &session{h, in, bufio.NewReader(out)}
}

// begin begins a script, of one line.
func (s *session) begin(script string) {
	s.h.t.Helper()
	if _, err := io.WriteString(s.in, script+"\n"); err != nil {
		s.h.t.Fatal(err)
	}
}

// end waits for the end of a script, and returns what it printed.
func (s *session) end() string {
	s.h.t.Helper()
	said := make(chan string, 1)
	go func() {
		var text strings.Builder
		for {
			line, err := s.out.ReadString('\n')
			if err != nil || line == "end\n" {
				break
			}
			text.WriteString(line)
		}
		said <- text.String()
	}()
	select {
	case text := <-said:
		return text
	case <-time.After(lab.Patience):
		s.h.t.Fatal("the script hangs")
		return ""
	}
}

func (s *session) do(script string) string {
	s.h.t.Helper()
	s.begin(script)
	return s.end()
}
