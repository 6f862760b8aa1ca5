package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestTasks has tasks start in order and stop in reverse, whatever ends them.
func TestTasks(t *testing.T) {
	for _, c := range []struct {
		name     string
		bad      string // the task that fails
		starting bool   // it fails before it is ready
		stop     string // the task whose end is an error
		diary    []string
		err      string
		log      string
	}{
		{name: "all is well", diary: []string{"a starts", "b starts", "c starts", "c stops", "b stops", "a stops"}},
		{name: "one cannot start", bad: "b", starting: true, diary: []string{"a starts", "b fails", "a stops"}, err: "b: broken"},
		{name: "one fails", bad: "b", diary: []string{"a starts", "b starts", "c starts", "b fails", "c stops", "a stops"}, err: "b: broken"},
		{name: "one cannot stop", stop: "c", diary: []string{"a starts", "b starts", "c starts", "c stops", "b stops", "a stops"}, err: "c: stuck"},
		{name: "one fails and another cannot stop", bad: "b", stop: "a",
			diary: []string{"a starts", "b starts", "c starts", "b fails", "c stops", "a stops"}, err: "b: broken",
			log: `level=warning msg="a: stuck"` + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			logrus.SetOutput(&log)
			logrus.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true})
			defer logrus.SetFormatter(&logrus.TextFormatter{})
			defer logrus.SetOutput(os.Stderr)
			var diary []string // one task at a time writes it
			broken := make(chan struct{})
			newTask := func(name string) task {
				return func(ctx context.Context, ready func()) error {
					fails := func() error { diary = append(diary, name+" fails"); return errors.New(name + ": broken") }
					if name == c.bad && c.starting {
						return fails()
					}
					diary = append(diary, name+" starts")
					ready()
					if name == c.bad {
						<-broken
						return fails()
					}
					<-ctx.Done()
					diary = append(diary, name+" stops")
					if name == c.stop {
						return errors.New(name + ": stuck")
					}
					return nil
				}
			}
			ts := newTasks()
			for _, name := range []string{"a", "b", "c"} {
				if !ts.start(t.Context(), newTask(name)) {
					break
				}
			}
			close(broken)
			if c.bad != "" {
				<-ts.failed
			}
			err := ts.stop()
			if !slices.Equal(diary, c.diary) {
				t.Errorf("%q, want %q", diary, c.diary)
			}
			if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("%v, want %q", err, c.err)
			}
			if log.String() != c.log {
				t.Errorf("the log is %q, want %q", &log, c.log)
			}
		})
	}
}

// TestEndWhileTaskStarts does not wait until a task is ready.
func TestEndWhileTaskStarts(t *testing.T) {
	ending, end := context.WithCancel(t.Context())
	ts := newTasks()
	stopped := false
	if ts.start(ending, func(ctx context.Context, _ func()) error {
		end()
		<-ctx.Done()
		stopped = true
		return nil
	}) {
		t.Error("the task is ready")
	}
	if err := ts.stop(); err != nil || !stopped {
		t.Errorf("stopped: %v, %v", stopped, err)
	}
}
