package e2e

import (
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"recentfs/tests/lab"
)

// openMany opens a table 17,000 times, or as often as it may, and reads a byte from each
// file. Then it waits for a line, and tries again: it may open a file for one that it
// closes.
const openMany = `
import os, sys
files = []
def opens():
    try:
        while len(files) < 17000:
            files.append(os.open("ssh", os.O_RDONLY))
            if os.read(files[-1], 1) != b"s":
                sys.exit("nothing to read")
        return "all"
    except OSError as e:
        return e.strerror
print(opens(), len(files), flush=True)
sys.stdin.readline()
os.close(files.pop())
print(opens(), len(files), os.read(files[0], 3), flush=True)
sys.stdin.readline()
`

// many is a process that opens many files as a user.
type many struct {
	*exec.Cmd
	said  lab.Output
	stdin io.Writer
}

func startMany(d *lab.Daemon) *many {
	d.T.Helper()
	m := &many{Cmd: exec.Command("bash", "-c", `ulimit -n 18000; PATH=/usr/sbin:/usr/bin:/sbin:/bin
		exec setpriv --reuid 65534 --regid 65534 --clear-groups python3 -c "$0"`, openMany)}
	m.Dir, m.Stdout, m.Stderr = d.Mount, &m.said, &m.said
	stdin, err := m.StdinPipe()
	if err != nil {
		d.T.Fatal(err)
	}
	if err := d.NS.Start(m.Cmd); err != nil {
		d.T.Fatal(err)
	}
	m.stdin = stdin
	d.T.Cleanup(m.end)
	return m
}

func (m *many) end() {
	_ = m.Process.Kill()
	_ = m.Wait()
}

func (m *many) says(t *testing.T, want string) {
	t.Helper()
	lab.Eventually(t, "the user has opened files", func() error {
		if got := m.said.String(); got != want {
			return errors.New(got)
		}
		return nil
	})
}

// TestManyFilesOfOneUser has two processes of a user open as many files as are allowed.
// The next recentfs goes on with them and counts them. Others open files all the time.
func TestManyFilesOfOneUser(t *testing.T) {
	d, _ := keeper(t, sshSeen)
	h := lab.NewHolder(t)
	start := func() { h.Start(d, "--state", filepath.Join(d.Dir, "state")) }
	start()
	d.Sh("echo +192.0.2.1 > ssh")
	const nobody, other = 65534, 65533
	one := startMany(d)
	one.says(t, "all 17000\n")
	two := startMany(d)
	const first = "Too many open files 15768\n"
	two.says(t, first)
	for range 2 { // then as the next process
		if got := d.As(nobody, nobody, "cat ssh"); got.Code != 1 {
			t.Errorf("another process of the user: %+v", got)
		}
		if got := d.As(other, other, "cat ssh"); got.Code != 0 {
			t.Errorf("another user: %+v", got)
		}
		d.Sh("cat ssh; echo +192.0.2.2 > ssh")
		d.Kill()
		start()
	}
	if _, err := io.WriteString(two.stdin, "go on\n"); err != nil {
		t.Fatal(err)
	}
	two.says(t, first+"Too many open files 15768 b'rc='\n")
	one.end()
	lab.Eventually(t, "the user may open files again", func() error {
		if got := d.As(nobody, nobody, "cat ssh"); got.Code != 0 {
			return errors.New(got.Stderr)
		}
		return nil
	})
	two.end()
	d.Stop()
}
