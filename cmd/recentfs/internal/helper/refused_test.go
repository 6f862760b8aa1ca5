package helper

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		{"abandon another file system", request{Do: abandon, Dev: 1}, nil, "is not mounted on"},
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

// TestUnsafeMountpoint allows a mount point below a directory of another user. Its owner
// could lead the helper elsewhere.
func TestUnsafeMountpoint(t *testing.T) {
	lab.NeedRoot(t)
	base := lab.TempDir(t)
	theirs := filepath.Join(base, "theirs")
	if err := errors.Join(os.Mkdir(theirs, 0o755), os.Chown(theirs, 65534, 65534), os.Symlink(base, filepath.Join(base, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ mountpoint, refused string }{
		{theirs + "/xt_recent", ""},
		{base + "/new/xt_recent", ""},
		{theirs + "/below/xt_recent", theirs},
		{theirs + "/below/more/xt_recent", theirs},
		{base + "/link/new/xt_recent", base + "/link"},
	} {
		err := (&Allowed{Mountpoint: c.mountpoint}).check()
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused+" is not a directory of root") {
			t.Errorf("%s: %v, want %q", c.mountpoint, err, c.refused)
		}
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
		if json.Unmarshal(text, &r) == nil && (r.Do == uncover || r.Do == watch) {
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
