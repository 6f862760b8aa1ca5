package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Systemd is a real systemd, process 1 of namespaces of its own, over a copy of this
// machine's files that is written to instead of them.
type Systemd struct {
	t   testing.TB
	pid string
}

// bootScript is run in new namespaces. Its argument is an empty directory.
const bootScript = `
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t cgroup2 cgroup2 sys/fs/cgroup || :
ip link set lo up
exec env -i container=lab PATH="$PATH" chroot . /lib/systemd/systemd --system --unit=multi-user.target --log-target=console
`

// NewSystemd boots systemd. It ends with the test.
func NewSystemd(t testing.TB) *Systemd {
	t.Helper()
	var console Output
	cmd := exec.Command("unshare", "--fork", "--kill-child", "--pid", "--mount", "--net", "--cgroup", "sh", "-euc", bootScript, "sh", TempDir(t))
	cmd.Stdout, cmd.Stderr = &console, &console
	group := newCgroup(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &Systemd{t: t}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	Eventually(t, "systemd is up", func() error {
		if s.pid = fmt.Sprint(Child(t, cmd.Process.Pid)); s.pid == "0" {
			return fmt.Errorf("it has no process:\n%s", &console)
		}
		state := s.Run("systemctl", "is-system-running")
		switch strings.TrimSpace(state.Stdout) {
		case "running", "degraded":
			return nil
		}
		return fmt.Errorf("it is %+v:\n%s", state, &console)
	})
	return s
}

// newCgroup makes a control group until the end of the test. A service's group outlives a
// systemd that is killed, with the filters of devices that it has: the next systemd needs
// groups of its own.
func newCgroup(t testing.TB) *os.File {
	t.Helper()
	root := TempDir(t)
	if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	dir := filepath.Join(root, filepath.Base(root))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		Eventually(t, "the control group is empty", func() error { return removeCgroup(dir) })
	})
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// removeCgroup removes a control group and those in it.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && err == nil {
			err = removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	if err == nil {
		err = os.Remove(dir)
	}
	return err
}

// Child is a child of a process, or 0.
func Child(t testing.TB, parent int) (pid int) {
	t.Helper()
	for _, list := range glob(t, fmt.Sprintf("/proc/%d/task/*/children", parent)) {
		text, _ := os.ReadFile(list)
		if fmt.Sscan(string(text), &pid); pid != 0 {
			return pid
		}
	}
	return 0
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Run runs a command inside.
func (s *Systemd) Run(args ...string) Outcome {
	s.t.Helper()
	return s.run("", args...)
}

func (s *Systemd) run(input string, args ...string) Outcome {
	s.t.Helper()
	var out, errs strings.Builder
	cmd := exec.Command("nsenter", append([]string{"--target", s.pid, "--mount", "--pid", "--net", "--cgroup", "--root", "--wdns=/"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		s.t.Fatal(err)
	}
	return Outcome{Code: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: errs.String()}
}

// Sh runs a script inside, which must succeed, and returns what it prints.
func (s *Systemd) Sh(script string) string {
	s.t.Helper()
	got := s.Run("bash", "-euc", script)
	if got.Code != 0 {
		s.t.Fatalf("%s: exit %d: %s%s", script, got.Code, got.Stdout, got.Stderr)
	}
	return got.Stdout
}

// Write makes a file inside.
func (s *Systemd) Write(path, text string, mode os.FileMode) {
	s.t.Helper()
	if got := s.run(text, "install", "-D", "-m", fmt.Sprintf("%o", mode), "/dev/stdin", path); got.Code != 0 {
		s.t.Fatalf("%s: %s", path, got.Stderr)
	}
}

// Outside is the number of a process outside, which has that number inside.
func (s *Systemd) Outside(inside string) (pid int) {
	s.t.Helper()
	Eventually(s.t, "process "+inside, func() error {
		for _, list := range glob(s.t, "/proc/"+s.pid+"/task/*/children") {
			text, _ := os.ReadFile(list)
			for child := range strings.FieldsSeq(string(text)) {
				status, _ := os.ReadFile("/proc/" + child + "/status")
				_, ids, _ := strings.Cut(string(status), "NSpid:")
				ids, _, _ = strings.Cut(ids, "\n")
				if strings.HasSuffix(ids, "\t"+inside) {
					_, err := fmt.Sscan(child, &pid)
					return err
				}
			}
		}
		return errors.New("systemd has no such child")
	})
	return pid
}
