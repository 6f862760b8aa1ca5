package control

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket is a listening unix socket.
type socket struct {
	*net.UnixListener
	madeDir string // the directory that was made for it; empty if it was there
	close   func() error
}

// group may speak to us, beside root and our own user.
const group = "recentfs"

// listen makes the socket, for our own user and the group. It replaces a socket that
// nobody listens on any more.
func listen(path string) (*socket, error) {
	if err := removeStaleSocket(path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	s := &socket{}
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o755); err == nil {
		s.madeDir = dir
		if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
			s.removeDir()
			return nil, fmt.Errorf("control socket: %w", err)
		}
	} else if errors.Is(err, syscall.EROFS) {
		return nil, readOnlyError(path)
	} else if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("control socket: %w: run as root or choose another --control", err)
	} else if !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("control socket: %w: make its directory or choose another --control", err)
	}
	old := syscall.Umask(0o177) // the socket's mode is 0600 from the start
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		s.removeDir()
		if errors.Is(err, syscall.EROFS) {
			return nil, readOnlyError(path)
		}
		if errors.Is(err, syscall.EINVAL) {
			return nil, fmt.Errorf("control socket %s: the path is too long for a socket (107 bytes): choose another --control", path)
		}
		return nil, fmt.Errorf("control socket: %w: run as root or choose another --control", err)
	}
	if err := openToGroup(path); err != nil {
		l.Close()
		s.removeDir()
		return nil, fmt.Errorf("control socket %s: open it to the group %s: %w", path, group, err)
	}
	s.UnixListener = l
	s.close = sync.OnceValue(func() error { defer s.removeDir(); return l.Close() })
	return s, nil
}

// openToGroup opens the socket to the group, if there is one, and if we may: another
// user than root must be in it. It changes nothing but a socket, whatever somebody may
// have put in its place.
func openToGroup(path string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return nil
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("somebody has replaced it")
	}
	// First the group: until then the mode is for another one.
	if stat.Gid != uint32(gid) {
		if err := unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH); errors.Is(err, unix.EPERM) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return os.Chmod(fmt.Sprint("/proc/self/fd/", fd), 0o660)
}

func readOnlyError(path string) error {
	return fmt.Errorf("control socket %s: its file system is read-only: mount a tmpfs there, or choose places that can be written by --control and --mountpoint", path)
}

// removeStaleSocket removes a socket that nobody listens on any more. Anything
// else at that path is an error.
func removeStaleSocket(path string) error {
	file, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && file.Mode().Type() != os.ModeSocket {
		return errors.New("a file is in the way: remove it or choose another --control")
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil, errors.Is(err, syscall.EAGAIN): // EAGAIN: so many wait to be accepted
		if err == nil {
			conn.Close()
		}
		return errors.New("another recentfs is running: stop it, or give this one its own --control, --mountpoint and queues")
	case errors.Is(err, os.ErrPermission):
		return errors.New("permission denied: run as root")
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("cannot tell whether another recentfs listens there: %w", err)
}

// Close removes the socket, and its directory if listen made it. The server
// and http.Server both call it.
func (s *socket) Close() error { return s.close() }

func (s *socket) removeDir() {
	if s.madeDir != "" {
		// It fails where somebody else's files are in it: then it stays.
		_ = os.Remove(s.madeDir)
	}
}
