package daemon

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestKernelLog has a file in the place of the kernel's log. Packets are logged there
// alone, all of them before the end, and the file is closed.
func TestKernelLog(t *testing.T) {
	vs := invite(t, []string{"visitor"})
	kmsg := filepath.Join(t.TempDir(), "kmsg")
	write(t, kmsg, "")
	if err := unix.Mount(kmsg, "/dev/kmsg", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount("/dev/kmsg", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	lines := func() []string {
		text, err := os.ReadFile(kmsg)
		if err != nil {
			t.Fatal(err)
		}
		return strings.SplitAfter(string(text), "\n")
	}
	var log lab.Output
	t.Run("server", func(t *testing.T) {
		c := newConfig(t, []string{"visitor"}, strings.Replace(seenRules, "COMMIT\n", "-A QUEUE0 -j LOG --log-level info --log-prefix \"first: \"\nCOMMIT\n", 1))
		c.LogPackets = "kmsg"
		s := c.start(t, &log)
		logrus.SetLevel(logrus.InfoLevel)
		vs.await(t, s)
		lab.Eventually(t, "packets are in the log", func() error {
			if len(lines()) < 2 {
				return errors.New("there are none")
			}
			return nil
		})
	})
	got := lines()
	for _, line := range got[:len(got)-1] {
		if !strings.HasPrefix(line, "<6>first: IN=lo OUT= ") || !strings.Contains(line, " SRC=127.0.0.1 ") {
			t.Errorf("the kernel's log has %q", line)
		}
	}
	if last := got[len(got)-1]; last != "" {
		t.Errorf("the last line is not whole: %q", last)
	}
	if strings.Contains(log.String(), "IN=lo") {
		t.Errorf("standard error has packets:\n%s", &log)
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name, _ := os.Readlink("/proc/self/fd/" + f.Name()); name == "/dev/kmsg" || name == kmsg {
			t.Errorf("descriptor %s is still open: %s", f.Name(), name)
		}
	}
	vs.leave(t)
}

// TestSyslog: a line gets its level, and the facility of the kernel.
func TestSyslog(t *testing.T) {
	address := filepath.Join(t.TempDir(), "log")
	c, err := net.ListenPacket("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, err := dialSyslog("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, line := range []struct{ name, given, want string }{
		{"emergency", "<0>a IN=eth0 OUT= \n", `^<0>.* recentfs\[\d+\]: a IN=eth0 OUT= \n$`},
		{"warning", "<4>b: IN= OUT=eth0 \n", `^<4>.* recentfs\[\d+\]: b: IN= OUT=eth0 \n$`},
		{"debug", "<7>\n", `^<7>.* recentfs\[\d+\]: \n$`},
		{"lost lines", "3 lines were not logged\n", `^<4>.* recentfs\[\d+\]: 3 lines were not logged\n$`},
	} {
		t.Run(line.name, func(t *testing.T) {
			if _, err := w.Write([]byte(line.given)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 1024)
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(buf[:n]); !regexp.MustCompile(line.want).MatchString(got) {
				t.Errorf("%q, want %s", got, line.want)
			}
		})
	}
}
