package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// TestOverloadFlags restarts a daemon with other flags. They are those of the queue
// that goes on, also while nobody serves it.
func TestOverloadFlags(t *testing.T) {
	d, _ := keeper(t, sshSeen)
	d.NS.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 0")
	var conn net.PacketConn
	if err := d.NS.Do(func() (err error) { conn, err = net.ListenPacket("udp4", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h := lab.NewHolder(t)
	dropped := 0
	for _, c := range []struct {
		name  string
		flags []string
		waits int // of 20 packets
		drops int
	}{
		{"5, drop", []string{"--queue-length", "5"}, 5, 15},
		{"7, accept", []string{"--queue-length", "7", "--on-overload", "accept"}, 7, 0},
		{"6, drop", []string{"--queue-length", "6", "--on-overload", "drop"}, 6, 14},
		{"usual", nil, 20, 0},
	} {
		h.Start(d, append([]string{"--state", filepath.Join(d.Dir, "state")}, c.flags...)...)
		d.Kill()
		for range 20 {
			if _, err := conn.WriteTo([]byte("x"), conn.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		dropped += c.drops
		want := fmt.Sprintf("%d waiting, %d dropped", c.waits, dropped)
		lab.Eventually(t, c.name, func() error {
			var text []byte
			err := d.NS.Do(func() (err error) {
				text, err = os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
				return err
			})
			if f := strings.Fields(string(text)); err != nil || len(f) < 6 || want != fmt.Sprintf("%s waiting, %s dropped", f[2], f[5]) {
				return fmt.Errorf("%q, %v, want %s", text, err, want)
			}
			return nil
		})
	}
	h.Start(d, "--state", filepath.Join(d.Dir, "state"))
	d.Stop()
}
