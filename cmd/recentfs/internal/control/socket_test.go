package control

import (
	"errors"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSocket makes the socket, with its directory, and removes both.
func TestSocket(t *testing.T) {
	old := syscall.Umask(0o077) // which must make no difference
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "recentfs")
	path := filepath.Join(dir, "c.sock")
	listenAt := func() *Server {
		t.Helper()
		s, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	modes := func(dirMode, mode os.FileMode) {
		t.Helper()
		for name, want := range map[string]os.FileMode{dir: dirMode | os.ModeDir, path: mode | os.ModeSocket} {
			if st, err := os.Stat(name); err != nil || st.Mode() != want {
				t.Errorf("%s: %v, %v, want mode %v", name, st.Mode(), err, want)
			}
		}
	}

	mode := os.FileMode(0o600)
	if _, err := user.LookupGroup(group); err == nil {
		mode = 0o660
	}
	s := listenAt()
	modes(0o755, mode)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory that was made for the socket: %v", err)
	}

	s = listenAt()
	if err := os.WriteFile(filepath.Join(dir, "somebody's"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("a directory with somebody's file has %v, %v", files, err)
	}

	// A directory that was there stays, as it was.
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s = listenAt()
	modes(0o700, mode)
	if err := os.Remove(filepath.Join(dir, "somebody's")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("a directory that was there has %v, %v", files, err)
	}
}

// TestSocketInTheWay has something at the socket's path already.
func TestSocketInTheWay(t *testing.T) {
	file := func(t *testing.T, path string) {
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		put  func(t *testing.T, path string)
		err  string // empty where it is replaced
	}{
		{"a file", file, "a file is in the way: remove it or choose another --control"},
		{"a directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "a file is in the way"},
		{"a socket of a killed daemon", func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
		}, ""},
		{"a socket of another daemon", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "another recentfs is running: stop it, or give this one its own --control"},
		{"no directory for its directory", func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Dir(filepath.Dir(path))); err != nil {
				t.Fatal(err)
			}
		}, "make its directory or choose another --control"},
		{"a file in the place of its directory", func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
			file(t, filepath.Dir(path))
		}, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a", "b", "c.sock")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			c.put(t, path)
			s, err := Listen(path)
			if err == nil {
				s.Close()
			}
			if (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "control socket")) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

// TestLongPath has a path that no socket can have. Nothing stays behind.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "recentfs")
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", 100))); err == nil || !strings.Contains(err.Error(), "too long for a socket (107 bytes): choose another --control") {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory that was made for the socket: %v", err)
	}
}

// TestNoDirectory has a place where not even root may make a directory.
func TestNoDirectory(t *testing.T) {
	if _, err := Listen("/sys/recentfs/control.sock"); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "run as root or choose another --control") {
		t.Error(err)
	}
}
