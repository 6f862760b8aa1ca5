package daemon

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"recentfs/tests/lab"
)

// TestLogRefused has writes refused. The housekeeper says so once, and only at the
// level debug.
func TestLogRefused(t *testing.T) {
	lab.NeedRoot(t)
	var log bytes.Buffer
	s := newConfig(t, nil, noQueue).new(t, &log)
	logrus.SetLevel(logrus.DebugLevel)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	for _, c := range []struct {
		name, script string
		level        logrus.Level
		want         string
	}{
		{"two writes", "echo +bogus > seen; echo / > seen; echo bogus > seen", logrus.DebugLevel,
			`2 writes into tables were refused (EINVAL), the last one into \"seen\": need \"+ip\", \"-ip\" or \"/\"`},
		{"none since", "echo / > seen", logrus.DebugLevel, ""},
		{"another", "echo +bogus > seen", logrus.DebugLevel, `1 writes into tables were refused (EINVAL), the last one into \"seen\": illegal address`},
		{"without debug", "echo +bogus > seen", logrus.InfoLevel, ""},
	} {
		if out, err := inMount(s, "bash", "-c", c.script+" || true"); err != nil {
			t.Fatalf("%s: %v: %s", c.name, err, out)
		}
		log.Reset()
		logrus.SetLevel(c.level)
		s.check()
		if got := log.String(); strings.Count(got, "refused") != min(1, len(c.want)) || !strings.Contains(got, c.want) {
			t.Errorf("%s: the log has %q, want %q", c.name, log.String(), c.want)
		}
	}
}

// TestHouseSaysLosses has the housekeeper say once what was lost since it looked last.
func TestHouseSaysLosses(t *testing.T) {
	vs := invite(t, []string{"visitor"})
	var log lab.Output
	// REPEAT with the mark that a packet comes with.
	c := newConfig(t, []string{"visitor"}, strings.Replace(seenRules, "COMMIT\n", "-A QUEUE0 -j MARK --set-mark 0\n-A QUEUE0 -j REPEAT\nCOMMIT\n", 1))
	s := c.start(t, &log)
	vs.await(t, s)
	vs.end()
	s.mu.Lock()
	var lost uint64
	for _, i := range s.instances {
		lost = i.losses().unrepeated
	}
	s.mu.Unlock()
	want := fmt.Sprintf(`level=warning msg="network namespace visitor: %d packets met REPEAT with the mark that they came with`, lost)
	for range 2 {
		s.check()
		if got := log.String(); strings.Count(got, want) != 1 || strings.Count(got, "\n") != 1 {
			t.Errorf("it says %q, want once %q", got, want)
		}
	}
	vs.leave(t)
}

// TestNamesCannotBeRead has the directory of the names become unreadable: what is
// served stays, and the housekeeper warns.
func TestNamesCannotBeRead(t *testing.T) {
	lab.NeedRoot(t)
	var log lab.Output
	s := newConfig(t, []string{"all"}, noQueue).start(t, &log)
	if err := os.Remove(lab.NetnsDir); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	write(t, lab.NetnsDir, "a file in the place of the directory")
	t.Cleanup(func() {
		if err := os.Remove(lab.NetnsDir); err != nil {
			t.Error(err)
		}
	})
	s.check()
	if want := "network namespaces: "; !strings.Contains(log.String(), want) || !strings.Contains(log.String(), "not a directory; they stay as they are for now") {
		t.Errorf("it says %q", &log)
	}
	if got := tableOf(s, "host"); got != "seen" {
		t.Errorf("the rules of the namespace that was served: %s", got)
	}
	if err := s.addFirst(); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a start: %v", err)
	}
}
