package daemon

import (
	"bytes"
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
