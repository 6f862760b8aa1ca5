package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"recentfs/capture"
	"recentfs/match/ruleset"
	"recentfs/tests/lab"
)

// TestLogLevels has a packet logged at each of syslog's levels.
func TestLogLevels(t *testing.T) {
	for level, want := range []string{"error", "error", "error", "error", "warning", "info", "info", "debug"} {
		for _, netns := range []string{"", "blue"} {
			var text, other bytes.Buffer
			logrus.SetOutput(&text)
			logrus.SetLevel(logrus.DebugLevel)
			r := ruleset.LogRecord{Level: uint8(level)}
			(&packetLog{netns: netns}).write(r)
			logrus.SetOutput(os.Stderr)
			logrus.SetLevel(logrus.InfoLevel)
			if got := text.String(); !strings.Contains(got, "level="+want+" ") || strings.Contains(got, "netns=blue") != (netns != "") || strings.Count(got, "\n") != 1 {
				t.Errorf("level %d of %q: %q", level, netns, got)
			}
			out := NewLogWriter(&other)
			(&packetLog{netns: netns, out: out}).write(r)
			out.Close()
			if got, want := other.String(), fmt.Sprintf("<%d>%s\n", level, r); got != want {
				t.Errorf("level %d, elsewhere: %q, want %q", level, got, want)
			}
		}
	}
}

// TestPacketsAreLogged has LOG rules come, change and go while packets flow. Once a
// reload has returned, nothing of the old rules is logged.
func TestPacketsAreLogged(t *testing.T) {
	vs := invite(t, []string{"visitor"})
	logging := func(prefix string) string {
		return strings.Replace(seenRules, "COMMIT\n", fmt.Sprintf("-A QUEUE0 -j LOG --log-level info --log-prefix %q\nCOMMIT\n", prefix), 1)
	}
	var log lab.Output
	c := newConfig(t, []string{"visitor"}, logging("first: "))
	s := c.start(t, &log)
	logrus.SetLevel(logrus.InfoLevel)
	packetLogs := func() (all []*packetLog) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, i := range s.instances {
			if i.log != nil {
				all = append(all, i.log)
			}
		}
		return all
	}
	await := func(prefix string) {
		t.Helper()
		before := len(log.String())
		lab.Eventually(t, "a packet is logged", func() error {
			for line := range strings.Lines(log.String()[before:]) {
				if strings.Contains(line, `level=info msg="`+prefix+"IN=lo OUT= ") && strings.Contains(line, " SRC=127.0.0.1 DST=127.0.0.1 ") && strings.Contains(line, "netns=visitor") {
					return nil
				}
			}
			return errors.New(log.String()[before:])
		})
	}
	await("first: ")
	for _, next := range []struct{ rules, prefix string }{
		{logging("second: "), "second: "}, {seenRules, ""}, {logging("third: "), "third: "},
	} {
		old := packetLogs()
		write(t, c.Rules, next.rules)
		if err := s.Reload(io.Discard); err != nil {
			t.Fatal(err)
		}
		reloaded := len(log.String())
		for _, l := range old {
			select {
			case <-l.done:
			default:
				t.Error("the log of the old rules goes on")
			}
		}
		if next.prefix == "" {
			vs.await(t, s)
			if n := len(packetLogs()); n != 0 {
				t.Errorf("%d logs of packets without a LOG rule", n)
			}
		} else {
			await(next.prefix)
		}
		for line := range strings.Lines(log.String()[reloaded:]) {
			if strings.Contains(line, "IN=lo") && (next.prefix == "" || !strings.Contains(line, next.prefix)) {
				t.Fatalf("after the reload to %q: %s", next.prefix, line)
			}
		}
	}
	vs.leave(t)
}

// TestQueueWithoutChain drops the packets of a queue whose chain is gone, or whose
// rules are.
func TestQueueWithoutChain(t *testing.T) {
	lab.NeedRoot(t)
	s := newConfig(t, nil, noQueue).start(t, os.Stderr)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.instances {
		for name, decider := range map[string]*instance{"no chain": i, "no rules": {}} {
			batch := []capture.Packet{{Verdict: capture.Accept}, {Verdict: capture.Accept}}
			decider.decide(9, batch, (*ruleset.Queue).Decide)
			for k, p := range batch {
				if p.Verdict != capture.Drop {
					t.Errorf("%s: packet %d gets verdict %v", name, k, p.Verdict)
				}
			}
		}
	}
}
