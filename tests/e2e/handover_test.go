package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// awaitReady waits until the daemon was ready that many times.
func awaitReady(d *lab.Daemon, times int) {
	d.T.Helper()
	lab.Eventually(d.T, fmt.Sprintf("it is ready %d times", times), func() error {
		if n := strings.Count(d.Output.String(), "ready\n"); n < times {
			return fmt.Errorf("%d times:\n%s", n, &d.Output)
		}
		return nil
	})
}

// TestKills kills a daemon at random moments, under packets, writes, reads and reloads.
// The next one goes on with what is held. Nothing is lost, nothing is done twice,
// nobody sees an error, and nothing grows.
func TestKills(t *testing.T) {
	for run := range lab.Soak(1, 10) {
		t.Run(fmt.Sprint(run), func(t *testing.T) { kills(t, 100) })
	}
}

func kills(t *testing.T, times int) {
	d, _ := keeper(t, outliveRules)
	h := lab.NewHolder(t)
	start := func() { h.Start(d, "-o", "ip_list_tot=4000000", "--state", filepath.Join(d.Dir, "state")) }
	start()
	descriptors, stored, mounts := d.Descriptors(), h.Stored(), len(d.Mounts())
	l := startLoad(t, d)
	reloads := 0
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for ; !l.stop.Load(); time.Sleep(time.Millisecond) {
			if d.Recentfs("reload", "--control", d.Control).Code == 0 {
				reloads++
			}
		}
	}()
	for range times {
		some := l.got.Load() + rand.Uint32N(600)
		lab.Eventually(t, "packets go on", func() error {
			if n := l.got.Load(); n < some {
				return fmt.Errorf("%d of %d:\n%s", n, some, &d.Output)
			}
			return nil
		})
		d.Kill()
		start()
	}
	l.end()
	<-stopped
	if now := d.Descriptors(); now > descriptors+2 { // a request of the control socket may be under way
		t.Errorf("%d descriptors are open, and %d were at the start", now, descriptors)
	}
	if now := h.Stored(); now != stored || stored == 0 {
		t.Errorf("%d descriptors are stored, and %d were at the start", now, stored)
	}
	if now := len(d.Mounts()); now != mounts {
		t.Errorf("there are %d mounts, and %d were at the start", now, mounts)
	}
	t.Logf("%d reloads", reloads)
	d.Stop()
}

// TestKeep kills and restarts a daemon that --keep keeps running, under load. Nothing
// is lost, nothing is done twice, and nobody sees an error.
func TestKeep(t *testing.T) {
	d, start := keeper(t, outliveRules)
	start("-o", "ip_list_tot=4000000", "--keep")
	l := startLoad(t, d)
	var kills []time.Time
	restarts := 0
	for len(kills) < lab.Soak(4, 100) || restarts < lab.Soak(8, 100) {
		l.goOn()
		// After a fifth death within 10 seconds the keeper would give up.
		if n := len(kills); n < 4 || time.Since(kills[n-4]) > 11*time.Second {
			kills = append(kills, time.Now())
			if err := syscall.Kill(lab.Child(t, d.Process()), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		} else {
			restarts++
			d.Signal(syscall.SIGUSR2)
		}
		awaitReady(d, 1+len(kills)+restarts)
	}
	l.end()
	t.Logf("%d kills, %d restarts", len(kills), restarts)
	d.Stop()
}

// TestKeepGivesUp restarts a daemon whose rules are wrong by now. Nobody waits for it.
func TestKeepGivesUp(t *testing.T) {
	d, start := keeper(t, outliveRules)
	start("--keep")
	d.SetRules("*recent\nwrong\nCOMMIT\n")
	d.Signal(syscall.SIGUSR2)
	if code := d.Ended(); code != 1 || !strings.Contains(d.Output.String(), "rules:2: ") {
		t.Errorf("it ended with %d:\n%s", code, &d.Output)
	}
	if mounts := d.Mounts(); len(mounts) > 0 {
		t.Errorf("mounts stay: %q", mounts)
	}
	if queues := d.NS.Queues(t); len(queues) > 0 {
		t.Errorf("queues are bound: %v", queues)
	}
}

// TestTakeover has one daemon take over from the other, under load.
func TestTakeover(t *testing.T) {
	d, start := keeper(t, outliveRules)
	args := []string{"-o", "ip_list_tot=4000000"}
	start(args...)
	l := startLoad(t, d)
	last := d
	for range lab.Soak(12, 100) {
		l.goOn()
		next := lab.NewDaemon(t, d.NS, outliveRules)
		next.Mount, next.Control = d.Mount, d.Control
		next.Start(append(args, "--state", filepath.Join(d.Dir, "state"), "--takeover")...)
		if code := last.Ended(); code != 0 {
			t.Errorf("the daemon ended with %d:\n%s", code, &last.Output)
		}
		last = next
	}
	// A worker that --keep starts again takes over from nobody.
	next := lab.NewDaemon(t, d.NS, outliveRules)
	next.Mount, next.Control = d.Mount, d.Control
	next.Start(append(args, "--state", filepath.Join(d.Dir, "state"), "--takeover", "--keep")...)
	last.Ended()
	if err := syscall.Kill(lab.Child(t, next.Process()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitReady(next, 2)
	l.goOn()
	l.end()
	next.Stop()
}

// TestTakeoverRefused has a daemon that could not start. The other one goes on.
func TestTakeoverRefused(t *testing.T) {
	d, start := keeper(t, outliveRules)
	start()
	file := filepath.Join(d.Dir, "file")
	if err := os.WriteFile(file, []byte("no directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"mount point", "is not a directory", []string{"-m", file}},
		{"namespace", "namespace", []string{"--netns", "nowhere"}},
		{"state", "is not a directory", []string{"--state", file}},
		{"rules", "no such file", []string{"--rules", "nowhere"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := d.Command(append([]string{"--state", filepath.Join(d.Dir, "state"), "--takeover"}, c.args...)...)
			if got := d.NS.Finish(t, cmd); got.Code != 1 || !strings.Contains(got.Stderr, c.want) {
				t.Errorf("%+v, want %q", got, c.want)
			}
			d.Sh("echo +192.0.2.1 > w")
		})
	}
	d.Stop()
}
