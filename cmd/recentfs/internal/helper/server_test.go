package helper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/fs"
	"recentfs/fs/device"
	"recentfs/tests/lab"
)

// mountsBelow are the mounts of recentfs in a directory.
func mountsBelow(t *testing.T, dir string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], dir) && f[2] == "fuse.recentfs" {
			n++
		}
	}
	return n
}

// TestRefused asks for what no daemon asks for. Nothing is mounted, made or removed.
func TestRefused(t *testing.T) {
	a := allowed(t)
	above := filepath.Dir(a.Mountpoint)
	victim := filepath.Join(above, "victim")
	if err := os.Mkdir(victim, 0o700); err != nil {
		t.Fatal(err)
	}
	c := connect(t, a)
	for _, r := range []struct {
		name string
		request
		fds  []int
		want string
	}{
		{"find another directory", request{Do: find, Dir: victim}, nil, "mounts on " + a.Mountpoint + " only"},
		{"find by dots", request{Do: find, Dir: a.Mountpoint + "/../victim"}, nil, "only"},
		{"attach to another", request{Do: attach, Site: fs.Site{Dir: victim}}, nil, "only"},
		{"attach to none", request{Do: attach}, nil, "only"},
		{"detach another", request{Do: detach, Site: fs.Site{Dir: "/proc"}}, nil, "only"},
		{"take another", request{Do: take, Site: fs.Site{Dir: "/proc"}}, nil, "only"},
		{"is another there", request{Do: there, Site: fs.Site{Dir: "/proc"}}, nil, "only"},
		{"remove another", request{Do: detach, Ended: true, Site: fs.Site{Dir: a.Mountpoint, Created: []string{victim}}}, nil, "no directory above"},
		{"remove half a name", request{Do: detach, Ended: true, Site: fs.Site{Dir: a.Mountpoint, Created: []string{a.Mountpoint[:len(a.Mountpoint)-1]}}}, nil, "no directory above"},
		{"abandon on another", request{Do: abandon, Dev: 1, Dir: victim}, nil, "only"},
		{"a file in place of the device", request{Do: attach, Site: fs.Site{Dir: a.Mountpoint}}, []int{0}, "not the FUSE device"},
		{"a descriptor too many", request{Do: attach, Site: fs.Site{Dir: a.Mountpoint}}, []int{0, 0}, "descriptors are not what"},
		{"a descriptor for nothing", request{Do: uncover}, []int{0}, "descriptors are not what"},
		{"many descriptors", request{Do: uncover}, make([]int, maxFDs+1), ""},
		{"an unknown action", request{Do: "reboot"}, nil, "of one version?"},
		{"none", request{}, nil, "of one version?"},
	} {
		t.Run(r.name, func(t *testing.T) {
			if r.name != "attach to none" && r.Site.Dir == a.Mountpoint {
				if err := os.MkdirAll(a.Mountpoint, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := c.ask(r.request, r.fds...); err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("%v, want %q", err, r.want)
			}
			if _, err := os.Stat(victim); err != nil || mountsBelow(t, above) != 0 {
				t.Errorf("%v, and %d mounts", err, mountsBelow(t, above))
			}
		})
	}
	if _, err := c.Present(); err != nil {
		t.Errorf("then nobody answers: %v", err)
	}
}

// TestLink has somebody put a symbolic link in the place of the directory, before it is
// found and after. Nothing is mounted where it leads.
func TestLink(t *testing.T) {
	a := allowed(t)
	above := filepath.Dir(a.Mountpoint)
	victim := filepath.Join(above, "victim")
	if err := os.Mkdir(victim, 0o700); err != nil {
		t.Fatal(err)
	}
	c := connect(t, a)
	site, err := c.Find(a.Mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(a.Mountpoint), os.Symlink(victim, a.Mountpoint)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Attach(&site, -1); err == nil {
		t.Error("it is mounted")
	}
	if _, err := c.Find(a.Mountpoint); err == nil || !strings.Contains(err.Error(), "follows no symbolic link") {
		t.Errorf("it is found: %v", err)
	}
	if info, err := os.Stat(victim); err != nil || info.Mode().Perm() != 0o700 || mountsBelow(t, above) != 0 {
		t.Errorf("%v, %v, %d mounts", info, err, mountsBelow(t, above))
	}
}

// TestAttachOther mounts a connection that is none of recentfs's, by its descriptor. It
// is that of whoever asks, as any directory of FUSE may be.
func TestAttachOther(t *testing.T) {
	a := allowed(t)
	c := connect(t, a)
	site, err := c.Find(a.Mountpoint)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := device.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Attach(&site, fd); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Statfs(a.Mountpoint, &st); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("somebody else holds the connection: %v", err)
	}
	if _, err := c.Detach(&site, true); err != nil || mountsBelow(t, a.Mountpoint) != 0 {
		t.Errorf("%v, %d mounts", err, mountsBelow(t, a.Mountpoint))
	}
}

const strangerEnv = "RECENTFS_HELPER_STRANGER"

// askAsStranger asks as a user who may not.
func askAsStranger(path string) {
	_, err := (&Client{path: path}).NetnsOf(os.Getpid())
	fmt.Print(err)
}

// TestStranger asks as another user, and as root of a user namespace.
func TestStranger(t *testing.T) {
	a := allowed(t)
	path := serve(t, a)
	program := filepath.Join(lab.TempDir(t), "program") // where others may run it
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	for _, c := range []struct {
		name  string
		mode  os.FileMode // of the socket
		owner int
		attr  syscall.SysProcAttr
		want  string
	}{
		{"root", 0o600, 0, syscall.SysProcAttr{}, "<nil>"},
		{"another user", 0o600, 0, syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody}}, "permission denied"},
		{"another user, though the file lets him", 0o666, 0, syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody}}, "user 65534 may not ask"},
		{"root of a namespace", 0o666, 0, syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, Credential: &syscall.Credential{},
			UidMappings: []syscall.SysProcIDMap{{HostID: nobody, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: nobody, Size: 1}},
		}, "user 65534 may not ask"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := errors.Join(os.Chmod(path, c.mode), os.Chown(path, c.owner, 0)); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program)
			cmd.Env = append(os.Environ(), strangerEnv+"="+path)
			cmd.SysProcAttr = &c.attr
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%s, %v, want %q", out, err, c.want)
			}
		})
	}
}

// TestWatch has the helper tell of mounts, and the next one when it ends.
func TestWatch(t *testing.T) {
	lab.NeedRoot(t)
	path := filepath.Join(lab.TempDir(t), "socket")
	first := start(t, path)
	c := &Client{path: path}
	lab.Eventually(t, "the helper starts", func() error { return c.CheckProcesses() })
	changed := make(chan struct{}, 1000)
	unwatch, err := c.Watch(func() { changed <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	await := func(what string) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(lab.Patience):
			t.Fatal("nobody tells of " + what)
		}
	}
	await("the begin")
	mount := func() {
		t.Helper()
		dir := lab.TempDir(t)
		for len(changed) > 0 {
			<-changed
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	}
	mount()
	await("a mount")
	first.Process.Kill()
	first.Wait()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	start(t, path)
	await("the next helper")
	mount()
	await("a mount")
	unwatch()
}

// TestSilent has a helper that does not answer. Nobody waits for long.
func TestSilent(t *testing.T) {
	path := filepath.Join(lab.TempDir(t), "socket")
	listen(t, path)
	c := &Client{path: path}
	_, err := c.NetnsOf(1)
	_, watching := c.Watch(func() {})
	for _, err := range []error{err, watching} {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v, want that the time is over", err)
		}
	}
}

// TestHalfRequest sends half a request and waits. The helper goes on with others.
func TestHalfRequest(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := unixConn(t, fds[0]), unixConn(t, fds[1])
	defer ours.Close()
	defer theirs.Close()
	if _, err := ours.Write([]byte(`{"do":`)); err != nil {
		t.Fatal(err)
	}
	if err := theirs.SetDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var r request
	if _, err := receive(theirs, &r, maxRequest); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want that the time is over", err)
	}
}

// TestNamespaceMissing starts a helper for a namespace that is not there. Who asks
// learns of it, and the helper ends.
func TestNamespaceMissing(t *testing.T) {
	a := allowed(t)
	a.Netns = []string{"missing"}
	path := filepath.Join(lab.TempDir(t), "socket")
	l := listen(t, path)
	done := make(chan error, 1)
	go func() { done <- Serve(l, a) }()
	const want = "network namespace missing: /run/netns/missing is not there"
	if _, err := Connect(path, a); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the helper: %v, want %q", err, want)
	}
}

// TestIdle ends a helper that nobody needs, and not one that somebody watches.
func TestIdle(t *testing.T) {
	a := allowed(t)
	own, err := NewOwn(a)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	path := filepath.Join(lab.TempDir(t), "socket")
	l := listen(t, path)
	done := make(chan error, 1)
	go func() {
		done <- newServer(own, a).serve(l, 20*time.Millisecond)
	}()
	c := &Client{path: path}
	unwatch, err := c.Watch(func() {})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // it takes longer than it would to be idle
		if _, err := c.NetnsOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			t.Fatalf("it has ended though somebody watches: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	unwatch()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(lab.Patience):
		t.Error("it does not end")
	}
}

// FuzzRequest sends a helper any bytes. It answers, and goes on.
func FuzzRequest(f *testing.F) {
	for _, r := range []request{
		{Do: find, Dir: "/x"}, {Do: netnsOf, PID: math.MaxInt}, {Do: open, File: "/etc/shadow"},
		{Do: abandon, Dev: 1}, {Do: detach, Ended: true, Site: fs.Site{Dir: "/x", Created: []string{"/"}}},
	} {
		text, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"do":`))
	f.Add([]byte(`[]`))
	nowhere := Allowed{Mountpoint: "/nowhere/xt_recent"}
	own, err := NewOwn(nowhere)
	if err != nil {
		f.Fatal(err)
	}
	s := newServer(own, nowhere)
	s.end = func() {}
	f.Fuzz(func(t *testing.T, text []byte) {
		var r request
		if json.Unmarshal(text, &r) == nil && (r.Do == uncover || r.Do == abandon || r.Do == watch) {
			return // they do what they are asked for
		}
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := unixConn(t, fds[0]), unixConn(t, fds[1])
		defer ours.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer theirs.Close()
			s.answer(theirs, func() {})
		}()
		_, _ = ours.Write(text)
		_ = ours.CloseWrite()
		answered, err := io.ReadAll(ours)
		<-done
		var a answer
		if err != nil || json.Unmarshal(answered, &a) != nil {
			t.Errorf("%q, %v", answered, err)
		}
	})
}

func unixConn(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}
