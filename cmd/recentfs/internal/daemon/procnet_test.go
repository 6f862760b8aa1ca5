package daemon

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"recentfs/fs"
	"recentfs/fs/procnet"
	"recentfs/tests/lab"
)

// lookups are what /proc/net shows of the module. The process that serves the mount
// must not itself look there.
func lookups(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "ls /proc/net/xt_recent/ 2>&1; readlink /proc/net").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// covers are the mounts over /proc/net.
func covers(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), " - tmpfs recentfs ")
}

// TestProcNet covers /proc/net: nobody else can meanwhile, and nothing is left of it.
func TestProcNet(t *testing.T) {
	lab.NeedRoot(t)
	uncovered := lookups(t)
	var log lab.Output
	t.Run("covered", func(t *testing.T) {
		c := newConfig(t, nil, noQueue)
		c.ProcNet = true
		s := c.start(t, &log)
		if got := lookups(t); !strings.HasPrefix(got, "seen\n") {
			t.Errorf("/proc/net shows %q", got)
		}
		said := len(log.String())
		s.check()
		if got := log.String()[said:]; got != "" {
			t.Errorf("it says %q", got)
		}

		other := newConfig(t, nil, noQueue)
		for _, procNet := range []bool{true, false} {
			other.ProcNet = procNet
			second := other.new(t, io.Discard)
			err := second.Start(t.Context())
			if procNet && (err == nil || !strings.Contains(err.Error(), "--proc-net: another recentfs, which serves "+s.module.Dir()+", has taken /proc/net")) {
				t.Errorf("a second one: %v", err)
			}
			if !procNet && err != nil {
				t.Errorf("a second one without --proc-net: %v", err)
			}
			if err == nil {
				err = second.Stop()
			}
			if !procNet && err != nil {
				t.Error(err)
			}
			if got := lookups(t); !strings.HasPrefix(got, "seen\n") {
				t.Errorf("after the second one, /proc/net shows %q", got)
			}
		}
		c.new(t, &log) // whose log is ours again
		said = len(log.String())

		// What Refresh cannot remove.
		if err := os.MkdirAll("/proc/tty/ldisc/net/strange/file", 0o700); err != nil {
			t.Fatal(err)
		}
		s.check()
		if got := log.String()[said:]; strings.Count(got, "\n") != 1 || !strings.Contains(got, `level=warning msg="/proc/net: `) || !strings.Contains(got, "strange") {
			t.Errorf("it says %q", got)
		}
	})
	left := func(when string) {
		t.Helper()
		if got := lookups(t); got != uncovered || covers(t) != 0 {
			t.Errorf("%s: /proc/net shows %q, want %q; %d mounts are left", when, got, uncovered, covers(t))
		}
	}
	left("after the end")

	// A recentfs that was killed has left it.
	gone := newConfig(t, nil, noQueue)
	for _, procNet := range []bool{false, true} {
		if _, err := procnet.Mount(fs.ModuleFiles(gone.Mountpoint + ".module")); err != nil {
			t.Fatal(err)
		}
		t.Run("left", func(t *testing.T) {
			c := newConfig(t, nil, noQueue)
			c.ProcNet = procNet
			c.start(t, io.Discard)
			if procNet {
				if got := lookups(t); !strings.HasPrefix(got, "seen\n") {
					t.Errorf("/proc/net shows %q", got)
				}
			} else {
				left("after a start without --proc-net")
			}
		})
		left("at the end")
	}
}
