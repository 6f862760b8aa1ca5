package service

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"recentfs/tests/lab"
)

// TestLook has looks find what is at work, and tells what the service manager hears.
func TestLook(t *testing.T) {
	const why = "a for 7.5s"
	const hung = why + ": recentfs hangs, and is to be ended and started again"
	for _, c := range []struct {
		name  string
		looks [][]string // the work that each look finds
		told  []string
		said  []string
	}{
		{"nothing", [][]string{{}, {}, {}}, []string{"1", "1", "1"}, nil},
		{"other work all the time", [][]string{{"a 1", "b 7"}, {"a 2"}, {"a 3", "b 8"}, {"a 4"}}, []string{"1", "1", "1", "1"}, nil},
		{"it takes a while", [][]string{{"a 1"}, {"a 1"}, {"a 1"}, {"a 2"}, {"a 2"}, {"a 2"}, {}}, []string{"1", "1", "1", "1", "1", "1", "1"}, nil},
		{"with a break", [][]string{{"a 1"}, {"a 1"}, {"a 1"}, {}, {"a 1"}, {"a 1"}, {"a 1"}}, []string{"1", "1", "1", "1", "1", "1", "1"}, nil},
		{"the same number of others", [][]string{{"a 1"}, {"b 1"}, {"a 1"}, {"b 1"}, {"a 1"}}, []string{"1", "1", "1", "1", "1"}, nil},
		{"it hangs", [][]string{{"a 1"}, {"a 1"}, {"a 1"}, {"a 1"}, {"a 1"}}, []string{"1", "1", "1", "trigger"}, []string{hung}},
		{"it hangs beside what works", [][]string{{"b 1", "a 1"}, {"a 1", "b 2"}, {"a 1"}, {"b 3", "a 1", "c 1"}}, []string{"1", "1", "1", "trigger"}, []string{hung}},
		{"the processor is busy", [][]string{{"a 1"}, {"a 1"}, {"late", "a 1"}, {"a 1"}, {"a 1"}, {"a 1"}}, []string{"1", "1", "1", "1", "1", "trigger"}, []string{hung}},
		{"it goes on", [][]string{{"a 1"}, {"a 1"}, {"a 1"}, {"a 1"}, {"a 2"}, {"a 2"}, {"a 2"}, {"a 2"}}, []string{"1", "1", "1", "trigger", "1", "1", "1", "trigger"},
			[]string{hung, "a: it goes on", hung}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log logtest.Hook
			defer logrus.StandardLogger().ReplaceHooks(logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{}))
			logrus.AddHook(&log)
			var told, said []string
			n := 0
			stopped, atOnce := make(chan struct{}), make(chan time.Time)
			close(atOnce)
			now := time.Now()
			w := watchdog{
				atWork: func(yield func(string, uint64) bool) {
					for _, found := range c.looks[n] {
						if found == "late" {
							continue
						}
						var what string
						var number uint64
						if _, err := fmt.Sscan(found, &what, &number); err != nil {
							t.Fatal(err)
						}
						if !yield(what, number) {
							return
						}
					}
				},
				every: 2500 * time.Millisecond,
				after: func(d time.Duration) <-chan time.Time {
					if d != 2500*time.Millisecond {
						t.Errorf("it looks again after %v", d)
					}
					if n++; n < len(c.looks) {
						now = now.Add(d)
						if slices.Contains(c.looks[n], "late") {
							now = now.Add(d/4 + 1)
						}
						return atOnce
					}
					close(stopped)
					return nil
				},
				now: func() time.Time { return now },
				notify: func(state string) {
					status, state, _ := strings.Cut("\n"+state, "\nWATCHDOG=")
					if (status != "") != (status == "\nSTATUS="+why && state == "trigger") {
						t.Errorf("its status is %q", status)
					}
					told = append(told, state)
				},
			}
			w.run(stopped)
			for _, e := range log.AllEntries() {
				said = append(said, e.Message)
			}
			if !slices.Equal(told, c.told) || !slices.Equal(said, c.said) {
				t.Errorf("told %q, want %q; said %q, want %q", told, c.told, said, c.said)
			}
		})
	}
}

// TestWatch has a service manager that asks for the watchdog in its environment.
func TestWatch(t *testing.T) {
	path := filepath.Join(lab.TempDir(t), "notify")
	manager, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	const soon = "2000" // microseconds
	for _, c := range []struct {
		name, usec, pid string
		every           time.Duration
	}{
		{"nobody asks", "", "", 0},
		{"of this process", soon, fmt.Sprint(os.Getpid()), 500 * time.Microsecond},
		{"without a process", soon, "", 500 * time.Microsecond},
		{"of another process", soon, "1", 0},
		{"no number", "soon", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("WATCHDOG_USEC", c.usec)
			t.Setenv("WATCHDOG_PID", c.pid)
			if every := lookEvery(); every != c.every {
				t.Errorf("it looks every %v, want %v", every, c.every)
			}
			stop := Watch(func(yield func(string, uint64) bool) {})
			if c.every != 0 {
				for range 3 {
					b := make([]byte, 100)
					if n, _, err := manager.ReadFrom(b); err != nil || string(b[:n]) != "WATCHDOG=1" {
						t.Errorf("%q, %v", b[:n], err)
					}
				}
			}
			stop()
		})
	}
}
