package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// group is a cgroup with a limit of memory, of either version.
type group struct {
	*testing.T
	dir, limit, usage, kills string // files
}

// newGroup makes a group below the one that has the controller.
func newGroup(t *testing.T) *group {
	t.Helper()
	g := &group{T: t, dir: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", kills: "memory.oom_control"}
	var at unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &at); err != nil {
		t.Fatal(err)
	}
	if at.Type == unix.CGROUP2_SUPER_MAGIC {
		g.dir, g.limit, g.usage, g.kills = "/sys/fs/cgroup", "memory.max", "memory.current", "memory.events"
		// An error shows below: a new group has no limit then.
		_ = os.WriteFile(g.dir+"/cgroup.subtree_control", []byte("+memory"), 0)
	}
	dir, err := os.MkdirTemp(g.dir, "recentfs-test-")
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, g.limit))
	}
	if err != nil {
		t.Skipf("this container may not make a cgroup with a limit of memory: %v", err)
	}
	g.dir = dir
	t.Cleanup(func() {
		lab.Eventually(t, "remove the cgroup", func() error { return os.Remove(dir) })
	})
	return g
}

// set limits the memory to so much.
func (g *group) set(limit int) {
	g.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, g.limit), []byte(fmt.Sprint(limit)), 0); err != nil {
		g.Fatal(err)
	}
}

// used is how much memory is in use.
func (g *group) used() int {
	g.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.usage))
	n, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	if err = errors.Join(err, bad); err != nil {
		g.Fatal(err)
	}
	return n
}

// killed is how many processes the kernel has killed in it.
func (g *group) killed() (n int) {
	g.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.kills))
	if err != nil {
		g.Fatal(err)
	}
	if at := bytes.Index(text, []byte("oom_kill ")); at >= 0 {
		fmt.Sscan(string(text[at+len("oom_kill "):]), &n)
	}
	return n
}

// flood sends a packet from each of n addresses.
func (w *world) flood(s *lab.Sources, n int) {
	w.Helper()
	for i := range uint32(n) {
		a := i + 256
		if err := s.Send([4]byte{127, byte(a >> 16), byte(a >> 8), byte(a)}, 7, []byte("flood")); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOBUFS) {
			w.Fatal(err)
		}
	}
}

// TestMemoryLimit floods the daemon with addresses, where it may have little memory.
func TestMemoryLimit(t *testing.T) {
	const (
		addresses = 200000
		spare     = 24 << 20 // less than so many addresses take
	)
	for _, c := range []struct {
		name   string
		args   []string
		killed bool
	}{
		{"tables that fit", []string{"-o", "ip_list_tot=20000", "--max-memory", "16M"}, false},
		{"tables that end with it", []string{"-o", "ip_list_tot=1000000"}, true},
		{"tables that outlive it", []string{"-o", "ip_list_tot=1000000", "--state"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			g := newGroup(t)
			w.under("sh", "-c", "echo $$ > "+g.dir+`/cgroup.procs; exec "$@"`, "sh")
			args := c.args
			if args[len(args)-1] == "--state" {
				args = append(args, w.state())
			}
			w.begin(args...)
			s := w.d.NS.NewSources(t)
			g.set(g.used() + spare)
			if !c.killed {
				w.flood(s, lab.Soak(addresses/4, 20*addresses))
				w.end()
				if n := g.killed(); n > 0 {
					t.Errorf("%d processes were killed", n)
				}
				return
			}
			w.load.end()
			for killed := 0; killed == 0; killed = g.killed() {
				w.flood(s, addresses)
				if t.Failed() {
					return
				}
			}
			w.d.Ended()
			g.set(1 << 40)
			w.d.Start(args...)
			seen := len(w.d.Read("seen"))
			t.Logf("%d addresses after the kill", seen)
			if _, err := os.Stat(w.state()); (seen > 0) != (err == nil) {
				t.Errorf("%d addresses are there after the kill", seen)
			}
			w.startLoad()
			w.before = w.measure()
			w.end()
		})
	}
}
