package namespaces

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// open opens a namespace until the test ends.
func open(t *testing.T, path string) *Namespace {
	t.Helper()
	ns, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// newNamespace makes a namespace without a name, which lasts until the test ends.
// It does so by Do, as the process's first threads have just started: only then
// is Do sure to meet the main thread, where TestDoLeavesNoTrace watches it.
func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	lab.NeedRoot(t)
	var ns *Namespace
	err := open(t, ownPath).Do(func() (err error) { // on a thread that ends with Do
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			ns, err = Open(threadPath)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// bind mounts a namespace on a new file, as `ip netns attach` does. The mount
// stays until unbind or the end of the test.
func bind(t *testing.T, ns *Namespace, path string) {
	t.Helper()
	if err := lab.Bind(fmt.Sprintf("/proc/self/fd/%d", ns.file.Fd()), path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lab.Unbind(path) }) // unless unbind did it
}

// unbind unmounts a namespace's file and removes it, as `ip netns delete` does.
func unbind(t *testing.T, path string) {
	t.Helper()
	if err := lab.Unbind(path); err != nil {
		t.Fatal(err)
	}
}

// named is the path of a name in Directory.
func named(name string) string { return filepath.Join(Directory, name) }

// process is a process inside a namespace.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// startProcess starts a process that ends when its input is closed: at the end of
// the test at the latest, however that ends.
func startProcess(t *testing.T, ns *Namespace) *process {
	t.Helper()
	p := &process{cmd: exec.Command("cat")}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(p.cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

func (p *process) pid() string { return strconv.Itoa(p.cmd.Process.Pid) }

// end ends the process and waits for it.
func (p *process) end() {
	p.stdin.Close()
	p.cmd.Wait()
}

// zombie ends the process but does not wait for it.
func (p *process) zombie(t *testing.T) {
	t.Helper()
	p.stdin.Close()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

// selected makes a selection that is closed when the test ends.
func selected(t *testing.T, texts ...string) *Selection {
	t.Helper()
	s, err := Select(texts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// names returns the names of a list, in its order.
func names(list []Found, err error) string {
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, f := range list {
		all = append(all, f.Name)
	}
	return strings.Join(all, " ")
}
