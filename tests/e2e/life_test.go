package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"recentfs/tests/lab"
)

// TestReload exchanges the rules by `recentfs reload` and by SIGHUP: tables that
// still have a rule keep their entries, and bad rules change nothing.
func TestReload(t *testing.T) {
	const (
		before = `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -m recent --rcheck --name KEEP --rsource -j DROP
-A QUEUE0 -m recent --rcheck --name GO --rsource -j DROP
COMMIT
`
		after = `*recent
:QUEUE0 ACCEPT [0:0]
:QUEUE7 DROP [0:0]
-A QUEUE0 -m recent --rcheck --name COME --rsource -j ACCEPT
-A QUEUE0 -m recent --rcheck --name KEEP --rsource -j DROP
COMMIT
`
		bad = `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -m recent --rcheck --name OTHER --rsource -j DROP
-A QUEUE0 -m conntrack --ctstate NEW -j DROP
-A QUEUE0 -p tpc -j DROP
COMMIT
`
	)
	for _, way := range []struct {
		name string
		// reload exchanges the rules and returns what the program says then.
		reload func(d *lab.Daemon, ok bool) string
	}{
		{"command", func(d *lab.Daemon, ok bool) string {
			got := d.Recentfs("reload")
			if (got.Code == 0) != ok || (got.Stderr == "") != ok {
				d.T.Fatalf("recentfs reload: exit %d, %q", got.Code, got.Stderr)
			}
			return got.Stderr
		}},
		{"SIGHUP", func(d *lab.Daemon, ok bool) string {
			already := len(d.Output.String())
			tables := d.Tables()
			d.Signal(syscall.SIGHUP)
			lab.Eventually(d.T, "the daemon reloads", func() error {
				if said := d.Output.String()[already:]; !ok && strings.Contains(said, "the rules stay as they were") {
					return nil
				}
				if ok && !slices.Equal(tables, d.Tables()) {
					return nil
				}
				return fmt.Errorf("tables %q; it says:\n%s", d.Tables(), &d.Output)
			})
			return d.Output.String()[already:]
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			l, d := guarded(t, lab.IPv4, lab.TCPProbe, before)
			d.Sh(fmt.Sprintf("echo +%v > KEEP; echo +192.0.2.9 > GO", lab.IPv4.Client))
			l.Dropped(lab.TCPProbe, lab.IPv4)
			rules := d.Must("rules")
			if n := packets(t, rules, "--name KEEP"); n != 1 {
				t.Errorf("the rule of KEEP counts %d packets, want 1:\n%s", n, rules)
			}

			d.SetRules(bad)
			said := strings.Split(way.reload(d, false), "\n")
			for i, want := range []string{"-m conntrack: only the kernel", "-p \"tpc\" is not a known protocol"} {
				at := fmt.Sprintf("%s:%d: ", d.Rules, 4+i)
				// logrus puts a \ before a quote.
				if got := strings.ReplaceAll(said[i], `\`, ""); !strings.Contains(got, at+want) {
					t.Errorf("bad rules: line %d is %q, want %q in it", i+1, said[i], at+want)
				}
			}
			if got := d.Must("rules"); got != rules {
				t.Errorf("bad rules changed the running ones to\n%s", got)
			}
			if got := d.Tables(); !slices.Equal(got, []string{"GO", "KEEP"}) {
				t.Errorf("tables after bad rules: %q", got)
			}

			kept := d.Only("KEEP")
			d.SetRules(after)
			way.reload(d, true)
			if got := d.Tables(); !slices.Equal(got, []string{"COME", "KEEP"}) {
				t.Errorf("tables after good rules: %q", got)
			}
			if got := d.Only("KEEP"); got.Src != kept.Src || !slices.Equal(got.Stamps, kept.Stamps) {
				t.Errorf("KEEP was %+v and is %+v", kept, got)
			}
			lab.Eventually(t, "the new queue is bound", func() error {
				if q := l.Server.Queues(t); len(q) != 2 {
					return fmt.Errorf("queues %v", q)
				}
				return nil
			})
			l.Dropped(lab.TCPProbe, lab.IPv4)
			d.Sh(fmt.Sprintf("echo +%v > COME", lab.IPv4.Client))
			l.Passes(lab.TCPProbe, lab.IPv4)

			d.SetRules(before)
			way.reload(d, true)
			if got := d.Read("GO"); len(got) != 0 {
				t.Errorf("GO came back with its old entries: %v", got)
			}
			lab.Eventually(t, "the queue that lost its chain is unbound", func() error {
				if q := l.Server.Queues(t); len(q) != 1 {
					return fmt.Errorf("queues %v", q)
				}
				return nil
			})
		})
	}
}

// TestSecondInstance starts a second daemon, which must say what is taken and
// leave the first one alone.
func TestSecondInstance(t *testing.T) {
	l, first := guarded(t, lab.IPv4, lab.TCPProbe, oneTable("FIRST"))
	for _, c := range []struct {
		name   string
		second func(*lab.Daemon)
		wants  []string
	}{
		{"queue", func(*lab.Daemon) {}, []string{"queue 0"}},
		{"mount point", func(d *lab.Daemon) {
			d.SetRules(strings.ReplaceAll(oneTable("SECOND"), "QUEUE0", "QUEUE9"))
			d.Mount = first.Mount
		}, []string{first.Mount}},
		{"control socket", func(d *lab.Daemon) {
			d.SetRules(strings.ReplaceAll(oneTable("SECOND"), "QUEUE0", "QUEUE9"))
			d.Control = first.Control
		}, []string{first.Control}},
	} {
		t.Run(c.name, func(t *testing.T) {
			second := lab.NewDaemon(t, l.Server, oneTable("SECOND"))
			c.second(second)
			got := l.Server.Finish(t, second.Command())
			if got.Code != 1 || strings.Count(got.Stderr, "\n") != 1 {
				t.Errorf("exit %d, %q; want exit 1 and one line", got.Code, got.Stderr)
			}
			for _, want := range c.wants {
				if !strings.Contains(got.Stderr, want) {
					t.Errorf("%q does not name %s", got.Stderr, want)
				}
			}
			if m := second.Mounts(); len(m) > 0 {
				t.Errorf("it left a mount: %q", m)
			}
			if _, err := os.Lstat(second.Dir + "/control.sock"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it left a control socket: %v", err)
			}
		})
	}
	l.Passes(lab.TCPProbe, lab.IPv4)
	if got := first.Only("FIRST"); len(got.Stamps) != 1 {
		t.Errorf("FIRST: %+v, want one stamp", got)
	}
	first.Must("reload")
	if q := l.Server.Queues(t); len(q) != 1 {
		t.Errorf("queues: %v, want the first daemon's alone", q)
	}
}

// TestKilled starts a daemon where a killed one left a dead mount and a socket
// that nobody listens on.
func TestKilled(t *testing.T) {
	ns := lab.NewNetns(t)
	d := lab.NewDaemon(t, ns, oneTable("T"))
	d.Start()
	d.Kill()
	// Not by stat(2), which the kernel answers from the attributes in its cache.
	if _, err := os.ReadDir(d.Mount); !errors.Is(err, syscall.ENOTCONN) {
		t.Fatalf("the mount of a killed daemon: %v, want %v", err, syscall.ENOTCONN)
	}
	d.Start()
	if m := d.Mounts(); len(m) != 2 {
		t.Errorf("mounts: %q, want two", m)
	}
	d.Must("add", "T", "192.0.2.1")
	d.Only("T")
	d.Must("rules")
	d.Stop()
}

// TestStop ends the daemon by either signal, also while a table is open. Nothing
// may stay behind.
func TestStop(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/busy=%v", s, busy), func(t *testing.T) {
				d := lab.NewDaemon(t, lab.NewNetns(t), oneTable("T"))
				d.Start()
				if busy {
					f, err := os.Open(d.File("T"))
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
				}
				d.StopBy(s)
			})
		}
	}
}

// TestStopDuringStart ends the daemon while it waits for the lock of its mount
// point, which is ours. Then it must not get ready any more.
func TestStopDuringStart(t *testing.T) {
	ns := lab.NewNetns(t)
	d := lab.NewDaemon(t, ns, oneTable("T"))
	dir, err := os.Open(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := d.Command()
	var out lab.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lab.Eventually(t, "the control socket is there", func() error {
		_, err := os.Lstat(d.Control)
		return err
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || strings.Contains(out.String(), "ready") {
		t.Errorf("%v, %q; want exit 0, and no word of ready", err, &out)
	}
	if m := d.Mounts(); len(m) > 0 {
		t.Errorf("mounts stayed behind: %q", m)
	}
	for _, path := range []string{d.Control, d.Mount} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s stayed behind: %v", path, err)
		}
	}
}
