package namespaces

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// patience is how long a test waits for what ought to happen at once.
const patience = 20 * time.Second

// threadPath is the namespace of the calling thread.
const threadPath = "/proc/thread-self/ns/net"

// needRoot skips where the kernel would refuse to make a namespace.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network namespace: run make test as root")
	}
}

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

// newNamespace is one without a name, which lasts until the test ends.
func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	needRoot(t)
	var ns *Namespace
	err := open(t, ownPath).Do(func() (err error) { // on a thread that ends
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

// bind mounts a namespace on a new file, as `ip netns attach` does, until the
// test ends or unbind.
func bind(t *testing.T, ns *Namespace, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.file.Fd()), path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Unmount(path, unix.MNT_DETACH)
		os.Remove(path)
	})
}

// unbind takes a namespace off its file and removes that, as `ip netns delete`
// does.
func unbind(t *testing.T, path string) {
	t.Helper()
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// named is the path of a name.
func named(name string) string { return filepath.Join(Directory, name) }

// process is one inside of a namespace.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// startProcess starts one that ends with the test, since its input does.
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

// zombie ends the process and leaves it unwaited for.
func (p *process) zombie(t *testing.T) {
	t.Helper()
	p.stdin.Close()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

// selected is a selection that is closed when the test ends.
func selected(t *testing.T, texts ...string) *Selection {
	t.Helper()
	s, err := Select(texts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// names are those of a list, in its order.
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

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
