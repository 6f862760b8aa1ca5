package daemon

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/sirupsen/logrus"

	"recentfs/capture/nfqueue"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(stuckEnv); dir != "" {
		if err := runStuck(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	lab.Main(m)
}

// seenRules have a queue, whose packets are seen.
const seenRules = "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -m recent --set --name seen\nCOMMIT\n"

// newServer starts a server for namespaces that are there, until the test ends.
// Whatever it warns of is an error.
func newServer(t *testing.T, names []string) *Server {
	t.Helper()
	var log bytes.Buffer // guarded by logrus's own lock
	s := newConfig(t, names, seenRules).start(t, &log)
	t.Cleanup(func() {
		if log.Len() > 0 {
			t.Errorf("the server says: %s", &log)
		}
	})
	return s
}

// testConfig is a Config whose files are in a directory of the test.
type testConfig struct{ Config }

func newConfig(t *testing.T, names []string, rules string) *testConfig {
	t.Helper()
	dir := t.TempDir()
	c := &testConfig{Config{
		Params: Params{Params: recent.DefaultParams(recent.Classic)}, Rules: filepath.Join(dir, "rules"),
		Mountpoint: filepath.Join(dir, "xt_recent"), Control: filepath.Join(dir, "control"), Netns: names,
	}}
	write(t, c.Rules, rules)
	return c
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start starts a server, until the test ends.
func (c *testConfig) start(t *testing.T, log io.Writer) *Server {
	t.Helper()
	s := c.new(t, log)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// new makes a server, whose warnings go to log until the test ends.
func (c *testConfig) new(t *testing.T, log io.Writer) *Server {
	t.Helper()
	logrus.SetOutput(log)
	logrus.SetLevel(logrus.WarnLevel)
	procs := runtime.GOMAXPROCS(0)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(procs)
		logrus.SetOutput(os.Stderr)
		logrus.SetLevel(logrus.InfoLevel)
	})
	s, err := New(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inMount runs a program in the mount of the tables. The process that serves a
// mount must not itself open anything there.
func inMount(s *Server, program string, args ...string) ([]byte, error) {
	cmd := exec.Command("sh", append([]string{"-c", `cd "$0" && exec "$@"`, s.tables.Dir(), program}, args...)...)
	return cmd.CombinedOutput()
}

// openQueue binds a queue in the network namespace of the calling thread.
func openQueue(number uint16, options nfqueue.Options) (*nfqueue.Queue, error) {
	s, err := nfqueue.OpenSocket()
	if err != nil {
		return nil, err
	}
	return s.Open(number, options)
}
