package daemon

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/tests/lab"
)

// noQueue are rules that bind nothing, for servers of the namespace that the
// tests run in.
const noQueue = "*recent\n:user - [0:0]\n-A user -m recent --set --name seen\nCOMMIT\n"

// status is the HTTP status of an error, 0 of nil.
func status(err error) int {
	known := new(control.Error)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &known):
		return known.Status
	}
	return http.StatusInternalServerError
}

// TestOneNamespace serves the namespace of this process alone: its tables are at
// the root, and nothing speaks of namespaces.
func TestOneNamespace(t *testing.T) {
	lab.NeedRoot(t)
	s := newConfig(t, nil, noQueue).start(t, os.Stderr)
	if files, err := inMount(s, "ls", "-A"); err != nil || string(files) != "seen\n" {
		t.Errorf("the mount has %q, %v", files, err)
	}
	self := uint32(os.Getpid())
	if got := s.answers.dirOf(self); got != s.tables.Dir() {
		t.Errorf("the tables of this process are in %s", got)
	}
	var rules strings.Builder
	if err := s.Rules(&rules, ""); err != nil || strings.Contains(rules.String(), "namespace") || !strings.Contains(rules.String(), "--name seen") {
		t.Errorf("the rules are %q, %v", &rules, err)
	}
	if err := s.Rules(io.Discard, "blue"); status(err) != http.StatusNotFound {
		t.Errorf("the rules of another namespace: %v", err)
	}
	if got := s.summary(); got != "0 queues" {
		t.Errorf("the rules are for %s", got)
	}
	write(t, s.config.Rules, strings.ReplaceAll(noQueue, "seen", "other"))
	if err := s.Reload(io.Discard); err != nil {
		t.Error(err)
	}
	if files, err := inMount(s, "ls", "-A"); err != nil || string(files) != "other\n" {
		t.Errorf("after a reload the mount has %q, %v", files, err)
	}
	write(t, s.config.Rules, "-A user\n")
	if err := s.Reload(io.Discard); status(err) != http.StatusUnprocessableEntity {
		t.Errorf("bad rules: %v", err)
	}
}

// TestFailures has parts of a server fail: it ends, says why, and leaves nothing.
func TestFailures(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct {
		name  string
		start func(t *testing.T, c *testConfig) // before the start
		fail  func(t *testing.T, s *Server)     // after it; nil if that fails already
		err   string
	}{
		{name: "no mount point", start: func(t *testing.T, c *testConfig) { write(t, c.Mountpoint, "") },
			err: "is not a directory"},
		{name: "no place for the module", start: func(t *testing.T, c *testConfig) { write(t, c.Mountpoint+".module", "") },
			err: ".module is not a directory"},
		{name: "no place for the socket", start: func(t *testing.T, c *testConfig) { write(t, c.Control, "") },
			err: "a file is in the way"},
		{name: "rules for a namespace that is not served", start: func(t *testing.T, c *testConfig) {
			c.NetnsRules = map[string]string{"blue": c.Rules}
		}, err: "--netns-rules blue: no --netns selects a namespace of that name"},
		{name: "a task", fail: func(_ *testing.T, s *Server) {
			s.tasks.start(t.Context(), func(context.Context, func()) error { return errors.New("broken") })
		}, err: "broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := newConfig(t, nil, noQueue)
			if c.start != nil {
				c.start(t, conf)
			}
			dir := filepath.Dir(conf.Rules)
			before := list(t, dir)
			s := conf.new(t, os.Stderr)
			err := s.Start(t.Context())
			if err == nil && c.fail != nil {
				c.fail(t, s)
				s.Wait(t.Context(), nil, nil)
				err = s.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
			if after := list(t, dir); !slices.Equal(after, before) {
				t.Errorf("it leaves %q, and found %q", after, before)
			}
			if c.fail == nil {
				return
			}
			if err := s.Reload(io.Discard); status(err) != http.StatusServiceUnavailable {
				t.Errorf("a reload after the end: %v", err)
			}
			if err := s.Rules(io.Discard, ""); err != nil {
				t.Errorf("the rules after the end: %v", err)
			}
		})
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}
