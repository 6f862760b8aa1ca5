package daemon

import (
	"net"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

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
