package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// newService installs the service in a real systemd.
func newService(t *testing.T) *lab.Systemd {
	t.Helper()
	s := lab.NewSystemd(t)
	const source = "../../cmd/recentfs/"
	for path, from := range map[string]string{
		"/usr/local/bin/recentfs":                     lab.Program(t),
		"/etc/systemd/system/recentfs.service":        source + "recentfs.service",
		"/etc/systemd/system/recentfs-helper.service": source + "recentfs-helper.service",
		"/etc/systemd/system/recentfs-helper.socket":  source + "recentfs-helper.socket",
		"/usr/lib/sysusers.d/recentfs.conf":           source + "recentfs.sysusers",
	} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		s.Write(path, string(text), 0o755)
	}
	s.Sh("systemd-sysusers; systemctl daemon-reload")
	return s
}

// TestSystemd restarts and kills the service of a real systemd, under packets, and with
// open files. Nothing is lost.
func TestSystemd(t *testing.T) {
	s := newService(t)
	s.Write("/etc/recentfs/rules", "*recent\n:QUEUE0 DROP [0:0]\n-A QUEUE0 -m recent --name T --set -j ACCEPT\nCOMMIT\n", 0o644)
	s.Sh(`
		systemctl start recentfs
		iptables-legacy -t mangle -A INPUT -p icmp --icmp-type echo-request -j NFQUEUE --queue-num 0 --queue-bypass
		cat > /run/load <<'END'
set -eu
cd /run/recentfs/xt_recent
exec 3< T 4> T
ping -q -i 0.002 -c 1000000 127.0.0.1 > /run/ping 2>&1 &
for _ in $(seq $1); do for end in kill restart; do
	echo +192.0.2.1 > T
	before=$(systemctl show -P MainPID recentfs)
	case $end in
	kill) kill -9 $before ;;
	restart) systemctl restart recentfs ;;
	esac
	echo +192.0.2.1 > T # waits for the next process
	until now=$(systemctl show -P MainPID recentfs); [ $now != 0 ] && [ $now != $before ]; do :; done
	read -r line <&3 || : # an error is said
	echo / >&4
done; done
kill -INT %1
wait %1
END`)
	times := lab.Soak(2, 100) // with the start, as many as systemd allows within 10 seconds
	if times > 2 {
		s.Write("/etc/systemd/system/recentfs.service.d/often.conf", "[Unit]\nStartLimitIntervalSec=0\n", 0o644)
		s.Sh("systemctl daemon-reload")
	}
	if got := s.Run("bash", "/run/load", fmt.Sprint(times)); got.Code != 0 || got.Stderr != "" {
		t.Errorf("the load failed: %+v\n%s", got, s.Sh("journalctl -u recentfs --no-pager"))
	}
	if got := s.Sh("cat /run/ping"); !strings.Contains(got, " 0% packet loss") {
		t.Errorf("packets were lost: %s", got)
	}
	if got, want := s.Sh("systemctl show -P NFileDescriptorStore recentfs"), "6\n"; got != want {
		t.Errorf("systemd stores %s descriptors, want %s", got, want)
	}

	if times > 2 {
		s.Sh("rm -r /etc/systemd/system/recentfs.service.d; systemctl daemon-reload; for _ in 1 2 3 4 5; do systemctl restart recentfs; done")
	}
	// It died too often: nobody holds anything, and nobody waits.
	s.Sh(`
		kill -9 $(systemctl show -P MainPID recentfs)
		timeout 20 sh -c 'until [ $(systemctl is-active recentfs) = failed ]; do :; done' `)
	if got := s.Run("cat", "/run/recentfs/xt_recent/T"); !strings.Contains(got.Stderr, "not connected") {
		t.Errorf("cat of a file that nobody serves: %+v", got)
	}
	s.Sh("ping -q -c 3 -i 0.1 -W 1 127.0.0.1")

	s.Sh("systemctl reset-failed recentfs; systemctl start recentfs; cat /run/recentfs/xt_recent/T; systemctl stop recentfs")
	if got, want := s.Sh("grep fuse.recentfs /proc/mounts || :; cat /proc/net/netfilter/nfnetlink_queue; systemctl show -P NFileDescriptorStore recentfs"), "0\n"; got != want {
		t.Errorf("a stop leaves %q, want %q", got, want)
	}
}
