package e2e

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// somebody is a user of the machine.
type somebody struct {
	name     string
	uid, gid uint32
	groups   []uint32
	inside   bool // as root of a user namespace of their own
}

// run runs a script as that user in the mount point.
func (s somebody) run(d *lab.Daemon, script string) lab.Outcome {
	d.T.Helper()
	args := []string{"sh", "-c", script}
	if s.inside {
		args = append([]string{"unshare", "--user", "--map-root-user"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = d.Mount
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.gid, Groups: s.groups}}
	return d.NS.Finish(d.T, cmd)
}

// recentfsUser has the machine know a user and a group recentfs while the test runs.
func recentfsUser(t *testing.T) (uid, gid uint32) {
	t.Helper()
	const line = "recentfs:x:64321:64322::/:/usr/sbin/nologin\n"
	for file, line := range map[string]string{"/etc/passwd": line, "/etc/group": "recentfs:x:64322:\n"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(lab.TempDir(t), "copy")
		// The first line of a name counts.
		if err := os.WriteFile(copied, append([]byte(line), text...), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(copied, file, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	u, err := user.Lookup("recentfs")
	if err != nil {
		t.Fatal(err)
	}
	number := func(text string) uint32 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	return number(u.Uid), number(u.Gid)
}
