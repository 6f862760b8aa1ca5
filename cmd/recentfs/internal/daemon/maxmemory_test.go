package daemon

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// TestMaxMemory has reloads and namespaces that need more memory than is allowed. They
// are refused and change nothing; as soon as there is room, a namespace gets its tables.
func TestMaxMemory(t *testing.T) {
	given := Params{Params: recent.DefaultParams(recent.Classic)}
	c := newConfig(t, []string{"red", "blue"}, rules("0", "seen"))
	c.ReadParams = func() (Params, error) { return given, nil }
	c.MaxMemory = 50 << 10 // two tables of 22 KB
	lab.NewNamed(t, "red")
	blue := lab.NewNamed(t, "blue")
	var log lab.Output
	s := c.start(t, &log)
	if err := lab.Detach("blue"); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "blue is gone", func() error {
		if got := s.summary(); got != "1 queue in 1 network namespace" {
			return errors.New(got)
		}
		return nil
	})
	fill(t, s, "red", "seen", 10)
	unchanged := func(what string) {
		t.Helper()
		if n, p := addresses(t, s, "red", "seen"), s.answers.module.Params(); n != 10 || p.ListTot != 100 || tableOf(s, "red") != "seen" {
			t.Errorf("%s: %d addresses of %d, the rules name %s", what, n, p.ListTot, tableOf(s, "red"))
		}
	}
	for _, step := range []struct {
		name  string
		limit uint32
		rules string
		want  string // of the error
	}{
		{"a larger table", 200, rules("0", "seen"), `rules:3: -m recent: table "seen": 200 addresses of 20 stamps may take 43 KB, and 22 KB of the 50 KB of --max-memory are taken: lower ip_list_tot `},
		{"another table is too much", 130, rules("0", "other"), `rules:3: -m recent: table "other": 130 addresses of 20 stamps may take 29 KB, and 22 KB of the 50 KB`},
	} {
		given.ListTot = step.limit
		write(t, c.Rules, step.rules)
		var said strings.Builder
		if err := s.Reload(&said); !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), step.want) || said.Len() > 0 {
			t.Errorf("%s: error %v, want %q; it says %q", step.name, err, step.want, &said)
		}
		unchanged(step.name)
	}
	given.ListTot = 100
	write(t, c.Rules, strings.Replace(rules("0", "seen"), "COMMIT", "-A QUEUE0 -m recent --set --name other\nCOMMIT", 1))
	if err := s.Reload(io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := blue.Name("blue"); err != nil {
		t.Fatal(err)
	}
	const refused = "network namespace blue: "
	lab.Eventually(t, "a namespace is refused", func() error {
		if text := log.String(); !strings.Contains(text, refused) || !strings.Contains(text, "43 KB of the 50 KB of --max-memory are taken") || !strings.Contains(text, "the namespace has no tables for now: recentfs tries again every 10s") {
			return errors.New(text)
		}
		return nil
	})
	unchanged("a namespace too much")
	if err := lab.Detach("red"); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the namespace gets its tables", func() error {
		s.check() // as every ten seconds
		if got := tableOf(s, "blue"); got != "seen" {
			return errors.New(got)
		}
		return nil
	})
	if used, most := s.answers.module.Memory(); used > most || used < 40<<10 {
		t.Errorf("%d of %d bytes are taken", used, most)
	}
}

// TestControlGroupIsSmaller starts a server whose control group allows less memory than
// its tables need in the end, and reloads its rules.
func TestControlGroupIsSmaller(t *testing.T) {
	lab.NeedRoot(t)
	const groups = "/sys/fs/cgroup"
	if err := unix.Mount("none", groups, "tmpfs", 0, ""); err != nil { // in the mounts of this process alone
		t.Fatal(err)
	}
	defer unix.Unmount(groups, unix.MNT_DETACH)
	write(t, groups+"/memory.max", "20480\n")
	var log lab.Output
	c := newConfig(t, nil, noQueue)
	c.Params.ListTot = 1000
	s := c.start(t, &log)
	const want = "the tables may take 205K, but " + groups + "/memory.max allows 20K: recentfs could be killed while they fill; raise that (MemoryMax= of systemd), or lower ip_list_tot (--max-memory refuses larger tables)"
	if n := strings.Count(log.String(), want); n != 1 {
		t.Errorf("it says %q", &log)
	}
	var said strings.Builder
	if err := s.Reload(&said); err != nil || strings.Count(said.String(), want) != 1 || strings.Count(log.String(), want) != 2 {
		t.Errorf("error %v; a reload says %q, the log %q", err, &said, &log)
	}
	if err := os.Remove(groups + "/memory.max"); err != nil {
		t.Fatal(err)
	}
	said.Reset()
	if err := s.Reload(&said); err != nil || said.Len() > 0 {
		t.Errorf("error %v; without a limit it says %q", err, &said)
	}
}
