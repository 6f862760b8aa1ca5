package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// status is the field of a process's or thread's status file.
func status(t *testing.T, file, field string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("%s has no %s", file, field)
	return ""
}

// TestShed starts a daemon as root. It keeps the capabilities that it needs, in each of
// its threads, and a filter of system calls. The parent of --keep keeps no more.
func TestShed(t *testing.T) {
	const needed = 1<<1 | 1<<12 | 1<<19 | 1<<21 | 1<<0 // DAC_OVERRIDE, NET_ADMIN, SYS_PTRACE, SYS_ADMIN, CHOWN
	d := lab.NewDaemon(t, lab.NewNetns(t), oneTable("T"))
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal(err)
	}
	d.Prepare = func(cmd *exec.Cmd) { // whoever starts it may have it inherit some
		cmd.Args = append([]string{setpriv, "--inh-caps=+net_raw,+kill", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = setpriv
	}
	d.Start("--state", d.Dir+"/state", "--keep")
	for _, c := range []struct {
		who    string
		pid    int
		filter string
	}{{"the parent", d.Process(), "0"}, {"the daemon", lab.Child(t, d.Process()), "2"}} {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", c.pid))
		if err != nil || len(threads) == 0 {
			t.Fatal(threads, err)
		}
		for _, thread := range threads {
			for field, want := range map[string]string{
				"CapEff": fmt.Sprintf("%016x", needed), "CapPrm": fmt.Sprintf("%016x", needed), "CapBnd": fmt.Sprintf("%016x", needed),
				"NoNewPrivs": "1", "Seccomp": c.filter,
			} {
				if got := status(t, thread, field); got != want {
					t.Errorf("%s: %s is %s, want %s", c.who, field, got, want)
				}
			}
		}
	}
	d.Must("add", "T", "192.0.2.1")
	if got := d.Must("show", "T"); !strings.Contains(got, "192.0.2.1") {
		t.Errorf("show prints %s", got)
	}
	d.Stop()
}

// TestUnprivilegedService has the service run as a user with one capability, whatever it
// is asked for.
func TestUnprivilegedService(t *testing.T) {
	s := newService(t)
	s.Write("/etc/recentfs/rules", "*recent\n:QUEUE0 DROP [0:0]\n-A QUEUE0 -j LOG --log-prefix seen-\n-A QUEUE0 -m recent --name T --set -j ACCEPT\nCOMMIT\n", 0o644)
	s.Sh(`
		ip netns add dmz
		ip -n dmz link set lo up
		for in in "" "ip netns exec dmz"; do
			$in iptables-legacy -t mangle -A INPUT -p icmp --icmp-type echo-request -j NFQUEUE --queue-num 0 --queue-bypass
		done`)
	for _, c := range []struct {
		name     string
		defaults string // of /etc/default/recentfs
		try      string // what works then; it must print "yes" and nothing else
	}{
		{"as it is", "", `cd /run/recentfs/xt_recent; grep -q src=127.0.0.1 T && echo +192.0.2.1 > T && grep -q 192.0.2.1 T && echo yes`},
		{"namespaces", "RECENTFS_NETNS=all", `
			ip netns exec dmz ping -q -c 1 -W 5 127.0.0.1 > /dev/null
			grep -q src=127.0.0.1 /run/recentfs/xt_recent/ns/dmz/T
			ip netns add late
			timeout 20 sh -c 'until [ -e /run/recentfs/xt_recent/ns/late/T ]; do :; done'
			ip netns del late
			timeout 20 sh -c 'while [ -e /run/recentfs/xt_recent/ns/late ]; do :; done'
			echo yes`},
		{"a namespace by name", "RECENTFS_NETNS=dmz", `ip netns exec dmz ping -q -c 1 -W 5 127.0.0.1 > /dev/null; grep -q 127.0.0.1 /run/recentfs/xt_recent/ns/dmz/T && echo yes`},
		{"the place of the kernel's tables", "RECENTFS_PROC_NET=true", `
			recentfs exec -m /run/recentfs/xt_recent -- true
			grep -q src= /proc/net/xt_recent/T
			python3 -c 'import ctypes; assert ctypes.CDLL(None).umount2(b"/proc/net", 10) == 0'
			timeout 20 sh -c 'until grep -q src= /proc/net/xt_recent/T; do :; done' 2> /dev/null
			echo yes`},
		{"syslog", "RECENTFS_LOG_PACKETS=syslog", `timeout 20 sh -c 'until journalctl -t recentfs | grep -q seen-IN=lo; do :; done'; echo yes`},
		{"the kernel's log", "RECENTFS_LOG_PACKETS=kmsg", `dmesg | grep -q seen-IN=lo && echo yes`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Write("/etc/default/recentfs", c.defaults+"\n", 0o644)
			s.Sh("systemctl reset-failed recentfs || :; systemctl start recentfs || { journalctl -u 'recentfs*' --no-pager | tail -30 >&2; exit 1; }; ping -q -c 1 -W 5 127.0.0.1 > /dev/null")
			defer s.Sh("systemctl stop recentfs")
			if got := s.Run("bash", "-euc", c.try); got.Stdout != "yes\n" {
				t.Errorf("%+v\n%s", got, s.Sh("journalctl -u recentfs -u recentfs-helper --no-pager | tail -200"))
			}
			const own = `grep -E '^(Uid|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/$(systemctl show -P MainPID recentfs)/status; id -u recentfs`
			got := strings.Fields(s.Sh(own))
			user := got[len(got)-1]
			want := strings.Fields(fmt.Sprintf("Uid: %[1]s %[1]s %[1]s %[1]s CapEff: %016[2]x CapBnd: %016[2]x CapAmb: %016[2]x NoNewPrivs: 1 Seccomp: 2 %[1]s", user, 1<<12))
			if fmt.Sprint(got) != fmt.Sprint(want) || user == "0" {
				t.Errorf("the service is %v, want %v", got, want)
			}
			// Somebody unmounts the tables, and the helper ends: both are there again.
			again := s.Run("bash", "-euc", `
				umount /run/recentfs/xt_recent
				timeout 20 sh -c 'until grep -q "xt_recent fuse.recentfs" /proc/mounts; do :; done'
				systemctl kill -s KILL recentfs-helper
				umount /run/recentfs/xt_recent
				timeout 20 sh -c 'until grep -q "xt_recent fuse.recentfs" /proc/mounts; do :; done'
				systemctl restart recentfs
				ls /run/recentfs/xt_recent > /dev/null
				kill -9 $(systemctl show -P MainPID recentfs)
				ls /run/recentfs/xt_recent > /dev/null`)
			if again.Code != 0 {
				t.Errorf("%+v\n%s", again, s.Sh("journalctl -u 'recentfs*' --no-pager | tail -50"))
			}
		})
	}
	if got := s.Run("systemd-analyze", "security", "--threshold=20", "--no-pager", "recentfs"); got.Code != 0 {
		t.Errorf("its exposure is 2.0 or more:\n%s", got.Stdout)
	}
	if got := s.Sh("grep fuse.recentfs /proc/mounts || :; ls -A /run/recentfs 2> /dev/null || :"); got != "" {
		t.Errorf("a stop leaves %s", got)
	}
}

// TestHelperHangs has the helper hang when the service needs it to start again. It is
// ended, and nobody waits for long.
func TestHelperHangs(t *testing.T) {
	s := newService(t)
	s.Write("/etc/recentfs/rules", oneTable("T"), 0o644)
	s.Sh(`
		systemctl start recentfs
		echo +192.0.2.1 > /run/recentfs/xt_recent/T
		systemctl kill -s STOP recentfs-helper
		kill -9 $(systemctl show -P MainPID recentfs)
		timeout 60 grep -q 192.0.2.1 /run/recentfs/xt_recent/T`)
	if got := s.Sh("systemctl show -P Result recentfs-helper; systemctl is-active recentfs"); got != "success\nactive\n" {
		t.Errorf("the helper and the service: %s", got)
	}
}
