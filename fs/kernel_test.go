package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// live makes a network namespace and returns the directory of the kernel's own
// xt_recent in it, with the tables foo and bar. It ends with the test.
func live(t *testing.T) string {
	t.Helper()
	lab.NeedRoot(t)
	var dir string
	var err error
	made, done := make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		dir, err = unshareTables("foo", "bar")
		close(made)
		<-done
	}()
	<-made
	t.Cleanup(func() { close(done) })
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("this kernel has no xt_recent to compare with: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func unshareTables(names ...string) (string, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return "", err
	}
	dir := fmt.Sprintf("/proc/%d/task/%d/net/xt_recent", os.Getpid(), unix.Gettid())
	for _, name := range names {
		out, err := exec.Command("iptables-legacy", "-A", "INPUT", "-m", "recent", "--set", "--name", name).CombinedOutput()
		if _, missing := os.Stat(dir); missing != nil {
			return "", missing
		}
		if err != nil {
			return "", fmt.Errorf("iptables-legacy: %w: %s", err, out)
		}
	}
	return dir, nil
}

// trial makes calls on the files of a directory and notes their results.
type trial struct {
	dir  string
	fds  []int
	note []string
}

func (tr *trial) add(what string, result any, err error) {
	if err != nil {
		result = unix.ErrnoName(err.(unix.Errno))
	}
	tr.note = append(tr.note, fmt.Sprint(what, "=", result))
}

// Stamps differ from run to run, and a piece of a line may begin or end in one.
var (
	numbers = regexp.MustCompile(`\d{9,}`)
	digits  = regexp.MustCompile(`\d`)
)

func (tr *trial) open(flags int) int {
	fd, err := unix.Open(tr.dir+"/foo", flags|unix.O_CLOEXEC, 0o644)
	tr.add("open", "ok", err)
	if err == nil {
		tr.fds = append(tr.fds, fd)
	}
	return fd
}

func (tr *trial) write(fd int, s string) {
	n, err := unix.Write(fd, []byte(s))
	tr.add("write", n, err)
}

func (tr *trial) read(fd, size int) {
	b := make([]byte, size)
	n, err := unix.Read(fd, b)
	if err != nil {
		n = 0
	}
	tr.add("read", fmt.Sprintf("%q", digits.ReplaceAllString(string(b[:n]), "9")), err)
}

func (tr *trial) seek(fd int, off int64, whence int) {
	pos, err := unix.Seek(fd, off, whence)
	tr.add("seek", pos, err)
}

func (tr *trial) pos(fd int) { tr.seek(fd, 0, unix.SEEK_CUR) }

func (tr *trial) sh(uid int, script string) {
	out := shell(tr.dir, uid, script)
	tr.note = append(tr.note, strings.ReplaceAll(out, tr.dir, "DIR"))
}

// finish notes the lines of the table, empties the table and closes the files.
func (tr *trial) finish(t *testing.T) []string {
	text, err := os.ReadFile(tr.dir + "/foo")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(numbers.ReplaceAllString(string(text), "J"), "\n")
	slices.Sort(lines)
	tr.note = append(tr.note, lines...)
	for _, fd := range tr.fds {
		unix.Close(fd)
	}
	for _, name := range []string{"foo", "bar"} {
		if err := os.WriteFile(tr.dir+"/"+name, []byte("/"), 0); err != nil {
			t.Fatal(err)
		}
	}
	return tr.note
}

func TestAsTheKernel(t *testing.T) {
	kernel := live(t)
	clock, err := jiffies.NewSystem()
	if err != nil {
		t.Fatal(err)
	}
	h := &shown{dir: lab.TempDir(t)}
	m, folder, err := Mount(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	h.m, h.reg = m, newModule(t, recent.DefaultParams(recent.Modern), clock).NewRegistry(folder.Update)
	t.Cleanup(func() { h.m.Unmount() })
	lab.WarmMount(t, h.dir)
	h.rule(t, "foo")
	h.rule(t, "bar")
	for _, c := range slices.Concat(contentTrials, nameTrials) {
		t.Run(c.name, func(t *testing.T) {
			theirs, ours := &trial{dir: kernel}, &trial{dir: h.dir}
			c.do(theirs)
			c.do(ours)
			want, got := theirs.finish(t), ours.finish(t)
			switch same := slices.Equal(want, got); {
			case !same && c.differs == "":
				t.Errorf("kernel: %q\n  ours: %q", want, got)
			case same && c.differs != "":
				t.Errorf("no longer differs: %s", c.differs)
			}
		})
	}
}
