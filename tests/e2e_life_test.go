package tests

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestReload has `recentfs reload` and SIGHUP exchange the rules: tables that
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
COMMIT
`
	)
	for _, way := range []struct {
		name string
		// reload asks for a reload and returns what is said about it, good
		// or bad, once it is done.
		reload func(d *daemon, ok bool) string
	}{
		{"command", func(d *daemon, ok bool) string {
			got := d.recentfs("reload")
			if (got.code == 0) != ok || (got.stderr == "") != ok {
				d.t.Fatalf("recentfs reload: exit %d, %q", got.code, got.stderr)
			}
			return got.stderr
		}},
		{"SIGHUP", func(d *daemon, ok bool) string {
			already := len(d.output.String())
			tables := d.tables()
			d.signal(syscall.SIGHUP)
			eventually(d.t, "the daemon reloads", func() error {
				if said := d.output.String()[already:]; !ok && strings.Contains(said, d.rules+":") {
					return nil
				}
				if ok && !slices.Equal(tables, d.tables()) {
					return nil
				}
				return fmt.Errorf("tables %q; it says:\n%s", d.tables(), &d.output)
			})
			return d.output.String()[already:]
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			l := newLab(t)
			l.serve()
			l.queueTo(ipv4, "filter", "INPUT", tcpProbe.match(ipv4), "--queue-num 0")
			d := startDaemon(t, l.server, before)
			d.sh(fmt.Sprintf("echo +%v > KEEP; echo +192.0.2.9 > GO", ipv4.client))
			l.dropped(tcpProbe, ipv4)
			rules := d.must("rules")
			if n := packets(t, rules, "--name KEEP"); n != 1 {
				t.Errorf("the rule of KEEP counts %d packets, want 1:\n%s", n, rules)
			}

			d.setRules(bad)
			if said := way.reload(d, false); !strings.Contains(said, d.rules+":4:") || !strings.Contains(said, "conntrack") {
				t.Errorf("bad rules: %q does not name line 4 and conntrack", said)
			}
			if got := d.must("rules"); got != rules {
				t.Errorf("bad rules changed the running ones to\n%s", got)
			}
			if got := d.tables(); !slices.Equal(got, []string{"GO", "KEEP"}) {
				t.Errorf("tables after bad rules: %q", got)
			}

			kept := d.only("KEEP")
			d.setRules(after)
			way.reload(d, true)
			if got := d.tables(); !slices.Equal(got, []string{"COME", "KEEP"}) {
				t.Errorf("tables after good rules: %q", got)
			}
			if got := d.only("KEEP"); got.src != kept.src || !slices.Equal(got.stamps, kept.stamps) {
				t.Errorf("KEEP was %+v and is %+v", kept, got)
			}
			eventually(t, "the new queue is bound", func() error {
				if q := l.server.queues(t); len(q) != 2 {
					return fmt.Errorf("queues %v", q)
				}
				return nil
			})
			l.dropped(tcpProbe, ipv4)
			d.sh(fmt.Sprintf("echo +%v > COME", ipv4.client))
			l.passes(tcpProbe, ipv4)

			d.setRules(before)
			way.reload(d, true)
			if got := d.read("GO"); len(got) != 0 {
				t.Errorf("GO came back with its old entries: %v", got)
			}
			eventually(t, "the queue that lost its chain is unbound", func() error {
				if q := l.server.queues(t); len(q) != 1 {
					return fmt.Errorf("queues %v", q)
				}
				return nil
			})
		})
	}
}

// TestSecondInstance has a second daemon say what it found taken, and leave
// the first one alone.
func TestSecondInstance(t *testing.T) {
	l := newLab(t)
	l.serve()
	l.queueTo(ipv4, "filter", "INPUT", tcpProbe.match(ipv4), "--queue-num 0")
	first := startDaemon(t, l.server, oneTable("FIRST"))
	for _, c := range []struct {
		name   string
		second func(*daemon)
		wants  []string
	}{
		{"queue", func(*daemon) {}, []string{"queue 0"}},
		{"mount point", func(d *daemon) {
			d.setRules(strings.ReplaceAll(oneTable("SECOND"), "QUEUE0", "QUEUE9"))
			d.mount = first.mount
		}, []string{first.mount}},
		{"control socket", func(d *daemon) {
			d.setRules(strings.ReplaceAll(oneTable("SECOND"), "QUEUE0", "QUEUE9"))
			d.control = first.control
		}, []string{first.control}},
	} {
		t.Run(c.name, func(t *testing.T) {
			second := newDaemon(t, l.server, oneTable("SECOND"))
			own := second.mount
			c.second(second)
			got := l.server.finish(t, second.command())
			second.mount = own // the first one's is not this test's to clean up
			if got.code != 1 || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("exit %d, %q; want exit 1 and one line", got.code, got.stderr)
			}
			for _, want := range c.wants {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("%q does not name %s", got.stderr, want)
				}
			}
			if m := second.mounts(); len(m) > 0 {
				t.Errorf("it left a mount: %q", m)
			}
			if _, err := os.Lstat(second.dir + "/control.sock"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it left a control socket: %v", err)
			}
		})
	}
	l.passes(tcpProbe, ipv4)
	if got := first.only("FIRST"); len(got.stamps) != 1 {
		t.Errorf("FIRST: %+v, want one stamp", got)
	}
	first.must("reload")
	if q := l.server.queues(t); len(q) != 1 {
		t.Errorf("queues: %v, want the first daemon's alone", q)
	}
}

// TestKilled has a daemon take over what a killed one left: a dead mount and a
// socket that nobody listens on.
func TestKilled(t *testing.T) {
	ns := newNetns(t)
	d := newDaemon(t, ns, oneTable("T"))
	d.start()
	d.kill()
	// stat(2) would do with the attributes that the kernel remembers.
	if _, err := os.ReadDir(d.mount); !errors.Is(err, syscall.ENOTCONN) {
		t.Fatalf("the mount of a killed daemon: %v, want %v", err, syscall.ENOTCONN)
	}
	d.start()
	if m := d.mounts(); len(m) != 2 {
		t.Errorf("mounts: %q, want two", m)
	}
	d.must("add", "T", "192.0.2.1")
	d.only("T")
	d.must("rules")
	d.stop()
}

// TestStop has both signals end the daemon with nothing left behind, also
// while somebody stands in the mount and holds a table open.
func TestStop(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/busy=%v", s, busy), func(t *testing.T) {
				d := newDaemon(t, newNetns(t), oneTable("T"))
				d.start()
				if busy {
					f, err := os.Open(d.file("T"))
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
				}
				d.stopBy(s)
			})
		}
	}
}
