package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
	"recentfs/namespaces"
	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

const (
	// patience is how long a test waits for what ought to happen at once.
	patience = 20 * time.Second
	// lost is after how long a packet is taken to have been dropped.
	lost = 20 * time.Millisecond
)

// eventually waits until check returns nil, and fails with its last error.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// newServer starts a server for namespaces that are there, until the test ends.
// Whatever it warns of is an error.
func newServer(t *testing.T, names []string) *Server {
	t.Helper()
	var log bytes.Buffer // guarded by logrus's own lock
	s := startTestServer(t, names, &log)
	t.Cleanup(func() {
		if log.Len() > 0 {
			t.Errorf("the server says: %s", &log)
		}
	})
	return s
}

// startTestServer is newServer for one that may warn.
func startTestServer(t *testing.T, names []string, log io.Writer) *Server {
	t.Helper()
	logrus.SetOutput(log)
	logrus.SetLevel(logrus.WarnLevel)
	procs := runtime.GOMAXPROCS(0)
	dir := t.TempDir()
	c := Config{
		Params: recent.DefaultParams(recent.Classic), Rules: filepath.Join(dir, "rules"),
		Mountpoint: filepath.Join(dir, "xt_recent"), Control: filepath.Join(dir, "control"), Netns: names,
	}
	rules := "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -m recent --set --name seen\nCOMMIT\n"
	if err := os.WriteFile(c.Rules, []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		runtime.GOMAXPROCS(procs)
		logrus.SetOutput(os.Stderr)
		logrus.SetLevel(logrus.InfoLevel)
	})
	return s
}

// inMount runs a program in the mount of the tables. The process that serves a
// mount must not itself open anything there.
func inMount(s *Server, program string, args ...string) ([]byte, error) {
	cmd := exec.Command("sh", append([]string{"-c", `cd "$0" && exec "$@"`, s.tables.Dir(), program}, args...)...)
	return cmd.CombinedOutput()
}

// visitor is a namespace with a name and packets in it.
type visitor struct {
	name     string
	received atomic.Int64 // packets that were let through
}

func (v *visitor) path() string { return filepath.Join(namespaces.Directory, v.name) }

// come makes the namespace, in which every UDP packet goes to queue 0.
func (v *visitor) come() error {
	own, err := namespaces.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	return own.Do(func() error { // on a thread that ends
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		out, err := exec.Command("sh", "-ec", "ip link set lo up; iptables-legacy -w -A INPUT -p udp -j NFQUEUE --queue-num 0").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if err := os.MkdirAll(namespaces.Directory, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(v.path(), nil, 0o444); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", v.path(), "", unix.MS_BIND, "")
	})
}

// send sends packets to itself, each when the one before has come or is lost,
// until quit. The namespace stays for as long.
func (v *visitor) send(quit <-chan struct{}) error {
	ns, err := namespaces.Open(v.path())
	if err != nil {
		return err
	}
	defer ns.Close()
	var c net.PacketConn
	if err := ns.Do(func() (err error) { c, err = net.ListenPacket("udp4", "127.0.0.1:0"); return err }); err != nil {
		return err
	}
	defer c.Close()
	for buf := make([]byte, 1); ; {
		select {
		case <-quit:
			return nil
		default:
		}
		// An error of either is a packet that is lost.
		c.WriteTo(buf, c.LocalAddr())
		c.SetReadDeadline(time.Now().Add(lost))
		if _, _, err := c.ReadFrom(buf); err == nil {
			v.received.Add(1)
		}
	}
}

// leave takes the name away.
func (v *visitor) leave() error {
	return errors.Join(unix.Unmount(v.path(), unix.MNT_DETACH), os.Remove(v.path()))
}

// visitors come together, and packets flow in each until the end.
type visitors struct {
	all []*visitor
	end func()
}

// invite makes namespaces with those names, until the test ends.
func invite(t *testing.T, names []string) *visitors {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network namespace: run make test as root")
	}
	var vs visitors
	for _, name := range names {
		v := &visitor{name: name}
		t.Cleanup(func() { _ = v.leave() }) // where the test did not get so far
		if err := v.come(); err != nil {
			t.Fatal(err)
		}
		vs.all = append(vs.all, v)
	}
	var senders sync.WaitGroup
	quit := make(chan struct{})
	vs.end = sync.OnceFunc(func() { close(quit); senders.Wait() })
	t.Cleanup(vs.end)
	for _, v := range vs.all {
		senders.Go(func() {
			if err := v.send(quit); err != nil {
				t.Error(err)
			}
		})
	}
	return &vs
}

// await waits until the server has let packets through in each and seen them.
func (vs *visitors) await(t *testing.T, s *Server) {
	t.Helper()
	for _, v := range vs.all {
		enough := v.received.Load() + 10
		eventually(t, func() error {
			if n := v.received.Load(); n < enough {
				return fmt.Errorf("%s: %d packets were let through, want %d", v.name, n, enough)
			}
			return nil
		})
		text, err := inMount(s, "cat", "ns/"+v.name+"/seen")
		if err != nil || !bytes.HasPrefix(text, []byte("src=127.0.0.1 ")) {
			t.Errorf("%s has seen %q, %v", v.name, text, err)
		}
	}
}

// leave takes all names away.
func (vs *visitors) leave(t *testing.T) {
	t.Helper()
	for _, v := range vs.all {
		if err := v.leave(); err != nil {
			t.Fatal(err)
		}
	}
}
