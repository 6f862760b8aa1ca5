package helper

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(strangerEnv); path != "" {
		askAsStranger(path)
		return
	}
	if path := os.Getenv(serveEnv); path != "" {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			err = Serve(l, Allowed{Mountpoint: filepath.Dir(path) + "/xt_recent"})
		}
		panic(err)
	}
	lab.Main(m)
}

// allowed allows to mount in a directory of the test.
func allowed(t *testing.T) Allowed {
	t.Helper()
	lab.NeedRoot(t)
	return Allowed{Mountpoint: filepath.Join(lab.TempDir(t), "xt_recent")}
}

// listen listens until the test ends.
func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect is a client of a helper that runs until the test ends.
func connect(t *testing.T, a Allowed) *Client {
	t.Helper()
	path := serve(t, a)
	c, err := Connect(path, a)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve runs a helper until the test ends. It returns where it listens.
func serve(t *testing.T, a Allowed) (path string) {
	t.Helper()
	path = filepath.Join(lab.TempDir(t), "socket")
	l := listen(t, path)
	done := make(chan error, 1)
	go func() { done <- Serve(l, a) }()
	t.Cleanup(func() {
		l.Close()
		select {
		case err := <-done:
			if !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		case <-time.After(lab.Patience):
			t.Error("the helper does not end")
		}
	})
	return path
}

// activate starts a helper whenever somebody connects and there is none, as systemd does,
// until the test ends.
func activate(t *testing.T, path string, flags func() Allowed) {
	t.Helper()
	l := listen(t, path)
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var mu sync.Mutex
	var current net.Listener
	stopped := false
	go func() {
		defer close(done)
		for {
			mu.Lock()
			if stopped {
				mu.Unlock()
				return
			}
			l, err := net.FileListener(file)
			current = l
			mu.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
			if err := Serve(l.(*net.UnixListener), flags()); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() {
		mu.Lock()
		stopped = true
		if current != nil {
			current.Close()
		}
		mu.Unlock()
		<-done
		file.Close()
	})
}

const serveEnv = "RECENTFS_HELPER_SERVE"

// start starts a helper in a process of its own.
func start(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serveEnv+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}
