package daemon

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"recentfs/capture/nfqueue"
	"recentfs/match/recent"
	"recentfs/namespaces"
	"recentfs/tests/lab"
)

// fill has n addresses come into a table of a namespace.
func fill(t *testing.T, s *Server, netns, table string, n int) {
	t.Helper()
	for i := range n {
		if _, _, err := tableIn(t, s, netns, table).Write(fmt.Appendf(nil, "+192.0.2.%d", i), 0); err != nil {
			t.Fatal(err)
		}
	}
}

func tableIn(t *testing.T, s *Server, netns, table string) *recent.Table {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		if i.name == netns {
			return i.registry.Table(table)
		}
	}
	t.Fatalf("network namespace %q has no instance", netns)
	return nil
}

// addresses are how many a table has.
func addresses(t *testing.T, s *Server, netns, table string) int {
	t.Helper()
	text := make([]byte, 1<<16)
	n, err := tableIn(t, s, netns, table).Cursor().ReadAt(text, 0)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text[:n]), "src=")
}

// TestReloadParams reads other parameters at each reload. What becomes of them is
// said, and nothing else.
func TestReloadParams(t *testing.T) {
	lab.NeedRoot(t)
	given := Params{Params: recent.DefaultParams(recent.Classic), File: recent.DefaultParams(recent.Classic)}
	var failed error
	c := newConfig(t, nil, noQueue)
	c.Params = given
	c.ReadParams = func() (Params, error) { return given, failed }
	s := c.start(t, os.Stderr)
	fill(t, s, "", "seen", 20)
	both := func(change func(p *recent.Params)) {
		change(&given.Params)
		change(&given.File)
	}
	for _, step := range []struct {
		name   string
		change func()
		says   string
		status int // of an error
		kept   int
	}{
		{"nothing", func() {}, "", 0, 20},
		{"more addresses", func() { both(func(p *recent.Params) { p.ListTot = 200 }) },
			"ip_list_tot is 200 now, and was 100\n1 table changed in size: all addresses stay\n", 0, 20},
		{"fewer addresses and stamps", func() { both(func(p *recent.Params) { p.ListTot, p.PktListTot = 8, 5 }) },
			"ip_list_tot is 8 now, and was 200\nip_pkt_list_tot is 5 now, and was 20\ntable seen keeps 8 of 20 addresses, those that were seen last\n", 0, 8},
		{"hidden by -o", func() { given.File.ListTot, given.File.Perms = 1000, 0o600 },
			"ip_list_tot stays 8, as -o says: 1000 in the file of --modprobe-conf has no effect\n" +
				"ip_list_perms stays 0644, as -o says: 0600 in the file of --modprobe-conf has no effect\n", 0, 8},
		{"still hidden", func() {}, "", 0, 8},
		{"of new tables", func() {
			both(func(p *recent.Params) { p.Perms, p.UID = 0o640, 7 })
			write(t, c.Rules, noQueue[:len(noQueue)-len("COMMIT\n")]+"-A user -m recent --set --name new\nCOMMIT\n")
		}, "ip_list_perms is 0640 now, and was 0644, for new tables: those that are there keep theirs\n" +
			"ip_list_uid is 7 now, and was 0, for new tables: those that are there keep theirs\n", 0, 8},
		{"refused by the module", func() { both(func(p *recent.Params) { p.ListTot = 0 }) }, "ip_list_tot=0", http.StatusUnprocessableEntity, 8},
		{"good again", func() { both(func(p *recent.Params) { p.ListTot = 8 }) }, "", 0, 8},
		{"the file is gone", func() { failed = errors.New("recent.conf:3: bad") }, "recent.conf:3: bad", http.StatusUnprocessableEntity, 8},
		{"refused by a rule", func() {
			failed = nil
			both(func(p *recent.Params) { p.PktListTot = 2 })
			write(t, c.Rules, "*recent\n:user - [0:0]\n-A user -m recent --rcheck --hitcount 3 --name seen\nCOMMIT\n")
		}, c.Rules + ":3: -m recent: hitcount (3) is larger", http.StatusUnprocessableEntity, 8},
		{"of the same size", func() { both(func(p *recent.Params) { p.PktListTot = 5 }) }, "", 0, 8},
	} {
		step.change()
		before := s.answers.module.Params()
		var said strings.Builder
		err := s.Reload(&said)
		is := s.answers.module.Params()
		if got := addresses(t, s, "", "seen"); got != step.kept || status(err) != step.status {
			t.Errorf("%s: %d addresses, %v", step.name, got, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), step.says) || is != before || said.Len() > 0 {
				t.Errorf("%s: %v; it says %q, parameters %+v", step.name, err, &said, is)
			}
		} else if said.String() != step.says || is != given.Params {
			t.Errorf("%s: it says %q, parameters %+v", step.name, &said, is)
		}
		if got := tableIn(t, s, "", "seen").Attr(); got != (recent.Attr{Perms: 0o644}) {
			t.Errorf("%s: attributes %+v", step.name, got)
		}
		if table := tableIn(t, s, "", "new"); table != nil && table.Attr() != (recent.Attr{Perms: 0o640, UID: 7}) {
			t.Errorf("%s: a new table has the attributes %+v", step.name, table.Attr())
		}
	}
}

// TestReloadParamsOfNamespaces has other parameters, and a rule that needs more
// stamps, for two namespaces. While one of them lacks a queue, neither changes.
func TestReloadParamsOfNamespaces(t *testing.T) {
	blue, red := lab.NewNamed(t, "blue"), lab.NewNamed(t, "red")
	ns, err := namespaces.Open(lab.NetnsDir + "/blue")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var other *nfqueue.Queue
	if err := ns.Do(func() (err error) { other, err = openQueue(5, nfqueue.Options{}); return err }); err != nil {
		t.Fatal(err)
	}
	given := Params{Params: recent.DefaultParams(recent.Modern)}
	c := newConfig(t, []string{"red", "blue"}, rules("0", "seen"))
	c.Params = given
	c.ReadParams = func() (Params, error) { return given, nil }
	s := c.start(t, os.Stderr)
	counting := func(queue string, hits int) string {
		return fmt.Sprintf("*recent\n:QUEUE%s ACCEPT [0:0]\n-A QUEUE%s -m recent --rcheck --hitcount %d --name seen\nCOMMIT\n", queue, queue, hits)
	}
	for name, n := range map[string]int{"red": 20, "blue": 10} {
		fill(t, s, name, "seen", n)
	}
	mapped := used(t).gigabytes
	for _, step := range []struct {
		name     string
		limit    uint32
		rules    string
		says     string
		red      int
		blue     int
		released bool // the queue
	}{
		{"a limit of gigabytes, refused", tableSize, counting("5", 1), "", 20, 10, false},
		{"a limit, refused", 15, counting("5", 1), "", 20, 10, false},
		{"a hitcount, refused", 100, counting("5", 60), "", 20, 10, false},
		{"a limit", 15, counting("5", 1), "ip_list_tot is 15 now, and was 100\n" +
			"network namespace red: table seen keeps 15 of 20 addresses, those that were seen last\n1 table changed in size: all addresses stay\n", 15, 10, true},
		{"a hitcount", 15, counting("5", 60),
			"network namespace blue: table seen is empty now, and had 10 addresses: a rule counts more hits than it kept stamps\n" +
				"network namespace red: table seen is empty now, and had 15 addresses: a rule counts more hits than it kept stamps\n", 0, 0, true},
	} {
		given.ListTot = step.limit
		write(t, c.Rules, step.rules)
		before := s.answers.module.Params()
		if step.released && other != nil {
			other.Close()
			other = nil
		}
		tries := 10 // the order of the namespaces is random
		if step.released {
			tries = 1
		}
		for range tries {
			var said strings.Builder
			err := s.Reload(&said)
			if (err == nil) != step.released || said.String() != step.says {
				t.Fatalf("%s: %v; it says %q", step.name, err, &said)
			}
			if got := s.answers.module.Params(); err != nil && got != before || err == nil && got != given.Params {
				t.Errorf("%s: parameters %+v", step.name, got)
			}
			if red, blue := addresses(t, s, "red", "seen"), addresses(t, s, "blue", "seen"); red != step.red || blue != step.blue {
				t.Fatalf("%s: %d and %d addresses", step.name, red, blue)
			}
		}
		if now := used(t).gigabytes; now > mapped+1 {
			t.Errorf("%s: %d GB are mapped, and were %d before", step.name, now, mapped)
		}
	}
	if q := red.Queues(t); len(q) != 1 {
		t.Errorf("queues %v", q)
	}
	if q := blue.Queues(t); len(q) != 1 {
		t.Errorf("queues %v", q)
	}
}
