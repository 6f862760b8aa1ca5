package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"recentfs/fs"
	"recentfs/tests/lab"
)

// TestNew has what New refuses, and why.
func TestNew(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, c *testConfig)
		errs   []string // a line for each
	}{
		{"no file of rules", func(_ *testing.T, c *testConfig) { c.Rules += "x" }, []string{"no such file or directory: name a file by --rules"}},
		{"no file for a namespace", func(_ *testing.T, c *testConfig) { c.NetnsRules = map[string]string{"blue": c.Rules + "x"} },
			[]string{"no such file or directory: name a file by --netns-rules"}},
		{"bad rules", func(t *testing.T, c *testConfig) { write(t, c.Rules, "*recent\n-A a\n-A b\nCOMMIT\n") },
			[]string{"rules:2: chain a is not declared", "rules:3: chain b is not declared"}},
		{"standard input", func(_ *testing.T, c *testConfig) { c.Rules = "-" }, []string{"which a reload cannot read again: name a file by --rules"}},
		{"several", func(_ *testing.T, c *testConfig) {
			c.NetnsRules, c.Rules = map[string]string{"blue": c.Rules + "x", "red": "-"}, c.Rules+"y"
		}, []string{"name a file by --rules", "cannot read again: name a file by --netns-rules", "name a file by --netns-rules"}},
		{"parameters", func(_ *testing.T, c *testConfig) { c.Params.PktListTot = 256 }, []string{"ip_pkt_list_tot=256"}},
		{"a low limit", func(t *testing.T, _ *testConfig) {
			var usual unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &usual); err != nil {
				t.Fatal(err)
			}
			low := usual
			low.Cur = leastDescriptors - 1
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &usual) })
		}, []string{"too few open files are allowed: 31, but 32 are needed for 0 queues"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := newConfig(t, nil, noQueue)
			c.change(t, conf)
			s, err := New(conf.Config)
			if s != nil || err == nil {
				t.Fatalf("%v, %v, want %q", s, err, c.errs)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.errs) {
				t.Fatalf("%d lines of errors, want %d:\n%v", len(lines), len(c.errs), err)
			}
			for i, want := range c.errs {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d is %q, want %q", i+1, lines[i], want)
				}
			}
		})
	}
}

// TestWait has a server reload at each hangup, and end with its context.
func TestWait(t *testing.T) {
	lab.NeedRoot(t)
	var log lab.Output
	c := newConfig(t, nil, noQueue)
	s := c.start(t, &log)
	logrus.SetLevel(logrus.InfoLevel)
	ctx, end := context.WithCancelCause(t.Context())
	hangups, ended := make(chan os.Signal), make(chan struct{})
	go func() { s.Wait(ctx, hangups, nil); close(ended) }()
	for _, hangup := range []struct {
		name, rules string
		says        []string
		table       string // of the rules from then on
	}{
		{"good rules", strings.ReplaceAll(noQueue, "seen", "first"), []string{`level=info msg="the rules were reloaded, for 0 queues"`}, "first"},
		{"bad rules", "*recent\n-A a\n-A b\nCOMMIT\n", []string{
			`level=error msg="reload: ` + c.Rules + ":2: chain a ", `level=error msg="reload: ` + c.Rules + ":3: chain b ",
			`level=error msg="reload: the rules stay as they were, and so do the parameters"`,
		}, "first"},
		{"good rules again", strings.ReplaceAll(noQueue, "seen", "second"), []string{`level=info msg="the rules were reloaded, for 0 queues"`}, "second"},
	} {
		write(t, c.Rules, hangup.rules)
		before := len(log.String())
		hangups <- syscall.SIGHUP
		var said string
		lab.Eventually(t, hangup.name, func() error {
			if said = log.String()[before:]; !strings.Contains(said, hangup.says[len(hangup.says)-1]) {
				return errors.New(said)
			}
			return nil
		})
		for _, want := range hangup.says {
			if strings.Count(said, want) != 1 {
				t.Errorf("%s: %q is not said once:\n%s", hangup.name, want, said)
			}
		}
		if got := tableOf(s, ""); got != hangup.table {
			t.Errorf("%s: the rules name %s", hangup.name, got)
		}
	}
	end(fmt.Errorf("enough"))
	select {
	case <-ended:
	case <-time.After(lab.Patience):
		t.Fatal("Wait does not end")
	}
	if !strings.Contains(log.String(), `level=info msg="enough: stopping"`) {
		t.Errorf("it says:\n%s", &log)
	}
}

// TestEndOfMounts stops a server whose mount cannot be unmounted as usual. One that is
// in use is detached, which is no error. What lies over another is not ours to take.
func TestEndOfMounts(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct {
		name      string
		hold      func(t *testing.T, dir string)
		warn, err string
	}{
		{"as usual", func(*testing.T, string) {}, "", ""},
		{"in use", func(t *testing.T, dir string) {
			user := exec.Command("sleep", "infinity")
			user.Dir = dir
			if err := user.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { user.Process.Kill(); user.Wait() })
		}, "is in use: it was detached", ""},
		{"something over it", func(t *testing.T, dir string) {
			if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				for range 2 { // it, and what it has hidden
					if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
						t.Error(err)
					}
				}
			})
		}, "", "tmpfs is mounted over it: umount that first"},
	} {
		for _, of := range []struct {
			name  string
			mount func(s *Server) *fs.Mountpoint
		}{
			{"the tables", func(s *Server) *fs.Mountpoint { return s.tables }},
			{"the module", func(s *Server) *fs.Mountpoint { return s.module }},
		} {
			t.Run(c.name+"/"+of.name, func(t *testing.T) {
				var log lab.Output
				s := newConfig(t, nil, noQueue).new(t, &log)
				if err := s.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				dir := of.mount(s).Dir()
				c.hold(t, dir)
				said := len(log.String())
				err := s.Stop()
				if (err == nil) != (c.err == "") || err != nil && err.Error() != "unmounting "+dir+": "+c.err {
					t.Errorf("%v, want %q", err, c.err)
				}
				if got := log.String()[said:]; strings.Count(got, "\n") != min(1, len(c.warn)) || !strings.Contains(got, c.warn) {
					t.Errorf("it says %q, want %q", got, c.warn)
				}
			})
		}
	}
}
