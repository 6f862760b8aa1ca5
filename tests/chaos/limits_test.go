package chaos

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"testing"

	"recentfs/tests/lab"
)

// crowd has a crowd of clients at once: cats, echoes, and connections to the control
// socket, under which the rules are reloaded.
func (w *world) crowd(n int) {
	w.Helper()
	var all []*process
	for i := range n {
		all = append(all, w.start("cat", "w", "seen", "open"), w.start("sh", "-c", fmt.Sprintf("echo +192.0.3.%d > open", i&255)))
	}
	var open []interface{ Close() error }
	for range n {
		f, err := os.Open(w.file("seen"))
		if err != nil {
			w.Fatal(err)
		}
		c, err := net.Dial("unix", w.d.Control)
		if err != nil {
			w.Fatal(err)
		}
		open = append(open, f, c)
	}
	for range 5 {
		if got := w.d.Recentfs("reload"); got.Code != 0 {
			w.Errorf("reload: %+v", got)
		}
	}
	for _, p := range all {
		w.ends(p)
	}
	w.goesOn()
	for _, o := range open {
		o.Close()
	}
}

// TestCrowd has hundreds of programs at once.
func TestCrowd(t *testing.T) {
	w := startWorld(t)
	for range lab.Soak(1, 20) {
		w.crowd(250)
	}
	w.end()
}

// TestOneProcessor has all of it on one processor.
func TestOneProcessor(t *testing.T) {
	w := newWorld(t)
	w.under("taskset", "-c", "0")
	w.begin()
	for range lab.Soak(1, 10) {
		w.crowd(50)
	}
	w.end()
}

// TestFewDescriptors has the daemon start with as few descriptors as it takes. What
// needs another one meanwhile is refused, or waits. Packets and tables go on.
func TestFewDescriptors(t *testing.T) {
	for _, c := range []struct {
		name  string
		state bool
	}{{"tables that end with it", false}, {"tables that outlive it", true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			args := []string{}
			if c.state {
				args = append(args, "--state", w.state())
			}
			cmd := w.d.Command(args...)
			w.under("prlimit", "--nofile=20:20")
			w.d.Prepare(cmd)
			got := w.d.NS.Finish(t, cmd)
			least := regexp.MustCompile(`20, but (\d+) are needed`).FindStringSubmatch(got.Stderr)
			if got.Code != 1 || least == nil {
				t.Fatalf("with 20 descriptors: %+v", got)
			}
			w.under("prlimit", "--nofile="+least[1]+":"+least[1])
			w.begin(args...)
			t.Logf("%s descriptors are allowed, and %d open", least[1], w.d.Descriptors())
			for range lab.Soak(1, 10) {
				w.crowd(50)
			}
			w.end()
		})
	}
}
