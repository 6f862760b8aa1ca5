package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// Users of the tests of who may what. Each is there also as root of a user namespace.
const (
	anOwner = 4711
	aGroup  = 4712
	aMember = 4713
	aThird  = 4714
)

func usersOf(t *testing.T) (all []somebody) {
	t.Helper()
	for _, s := range []somebody{
		{name: "owner", uid: anOwner, gid: anOwner},
		{name: "member", uid: aMember, gid: aMember, groups: []uint32{aGroup}},
		{name: "third", uid: aThird, gid: aThird},
	} {
		inside := s
		inside.name, inside.inside = s.name+" inside", true
		all = append(all, s, inside)
	}
	return all
}

// guardedDaemon keeps its tables, and lets everybody pass its directories: only the
// files' own permissions keep somebody out. Its table T has one address.
func guardedDaemon(t *testing.T, args ...string) *lab.Daemon {
	t.Helper()
	d, start := keeper(t, oneTable("T"))
	if err := os.Chmod(filepath.Dir(d.Control), 0o755); err != nil {
		t.Fatal(err)
	}
	start(args...)
	t.Cleanup(d.Stop)
	d.Sh("echo +192.0.2.77 > T")
	d.Must("save", "--control", d.Control)
	return d
}

// TestTableUsers has users read and change a table by each way that goes through its
// file. What the file's mode and owner say holds for all of them.
func TestTableUsers(t *testing.T) {
	read, write := map[string]string{
		"cat":         "cat T",
		"by a link":   "cat /proc/self/cwd/T",
		"show":        "PROGRAM show -m . T",
		"export":      "PROGRAM export -m .",
		"exec inside": "PROGRAM exec -m $PWD -- cat /proc/net/xt_recent/T",
	}, map[string]string{
		"echo":        "echo +192.0.2.88 > T",
		"append":      "echo +192.0.2.88 >> T",
		"add":         "PROGRAM add -m . T 192.0.2.88",
		"flush":       "PROGRAM flush -m . T",
		"exec inside": "PROGRAM exec -m $PWD -- sh -c 'echo / > /proc/net/xt_recent/T'",
	}
	for _, c := range []struct {
		name          string
		options       string
		script        string // root's
		reads, writes string // who may
	}{
		{"read by a group", "ip_list_perms=0640,ip_list_gid=4712", "", "member", ""},
		{"closed by chmod", "ip_list_perms=0666", "chmod 600 T", "", ""},
		{"given away by chown", "ip_list_perms=0600", "chown 4711:4711 T", "owner", "owner"},
		{"for all to write, not to read", "ip_list_perms=0622", "", "", "owner member third"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := guardedDaemon(t, "-o", c.options)
			d.Sh(":; " + c.script)
			for _, user := range usersOf(t) {
				whose, _, _ := strings.Cut(user.name, " ")
				do := func(ways map[string]string, may string, worked func(lab.Outcome) bool) {
					for way, script := range ways {
						if strings.HasSuffix(way, "inside") && !user.inside {
							continue
						}
						got := user.run(d, strings.ReplaceAll(script, "PROGRAM", lab.Program(t)))
						if want := strings.Contains(may, whose); worked(got) != want || (got.Code == 0) != want {
							t.Errorf("%s, %s: %+v, want success: %t", user.name, way, got, want)
						}
					}
				}
				do(read, c.reads, func(got lab.Outcome) bool { return strings.Contains(got.Stdout, "192.0.2.77") })
				do(write, c.writes, func(lab.Outcome) bool {
					changed := len(d.Read("T")) != 1 || d.Only("T").Src != "192.0.2.77"
					d.Sh("echo / > T; echo +192.0.2.77 > T")
					return changed
				})
			}
		})
	}
}

// TestClosedWays has users try all other ways to what a table holds, although its file
// is open to all. None leads there.
func TestClosedWays(t *testing.T) {
	_, group := recentfsUser(t)
	d := guardedDaemon(t, "-o", "ip_list_perms=0666")
	live, saved := filepath.Join(filepath.Dir(d.Control), "live"), filepath.Join(d.Dir, "state")
	ways := map[string]string{
		"state directory":     "ls " + saved,
		"snapshot":            "cat " + saved + "/host/T.snapshot",
		"live directory":      "ls " + live,
		"region":              "cat " + live + "/host/T.table",
		"region, to write":    ": >> " + live + "/host/T.table",
		"lock of the state":   "exec 3< " + saved,
		"maps":                "readlink /proc/PID/map_files/*",
		"memory":              "exec 3< /proc/PID/mem",
		"addresses of memory": "cat /proc/PID/maps",
		"descriptors":         "readlink /proc/PID/fd/0",
		"root directory":      "ls /proc/PID/root/",
		"takeover":            "PROGRAM run --takeover --state " + saved + " --control " + d.Control + " -m " + d.Mount,
		"takeover's socket":   fmt.Sprintf(`python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect("%s/handover.sock"); s.send(b"recentfs takeover 1"); print(s.recv(4096))'`, filepath.Dir(d.Control)),
		"import":              "echo 192.0.2.88 | PROGRAM import --table T --control " + d.Control,
		"save":                "PROGRAM save --control " + d.Control,
		"the module's owner":  "echo 4714 > ../xt_recent.module/parameters/ip_list_uid",
		"end of the mounts":   "for file in /sys/fs/fuse/connections/*/abort; do echo 1 > $file && exit; done; false",
		"unmount":             "umount $PWD || unshare -m umount $PWD && false",
		"signal":              "kill -USR2 PID",
	}
	for _, user := range append(usersOf(t), somebody{name: "who may ask", uid: aThird, gid: group}) {
		for way, script := range ways {
			t.Run(user.name+", "+way, func(t *testing.T) {
				got := user.run(d, strings.NewReplacer("PROGRAM", lab.Program(t), "PID", d.PID()).Replace(script))
				if got.Code == 0 || strings.Contains(got.Stdout, "192.0.2.77") {
					t.Errorf("%+v", got)
				}
			})
		}
	}
	if got := d.Only("T"); got.Src != "192.0.2.77" {
		t.Errorf("T holds %v", got)
	}
	d.Must("rules")
}

// TestServiceUsers has users meet the service of a real systemd, and root run recentfs by
// hand on the service's directories: the service goes on with what that has left.
func TestServiceUsers(t *testing.T) {
	s := newService(t)
	s.Write("/etc/recentfs/rules", oneTable("T"), 0o644)
	s.Sh("systemctl start recentfs; echo +192.0.2.77 > /run/recentfs/xt_recent/T; recentfs save")
	if got, want := s.Sh("stat -c '%U:%G %a' /run/recentfs/control.sock /run/recentfs/live /var/lib/recentfs /run/recentfs/live/host/T.table /var/lib/recentfs/host/T.snapshot"),
		"recentfs:recentfs 660\nrecentfs:recentfs 700\nrecentfs:recentfs 700\nrecentfs:recentfs 600\nrecentfs:recentfs 600\n"; got != want {
		t.Errorf("the owners are\n%swant\n%s", got, want)
	}
	const (
		member = "setpriv --reuid 4711 --regid 4711 --groups $(id -g recentfs) "
		other  = "setpriv --reuid 4711 --regid 4711 --clear-groups "
		own    = "setpriv --reuid recentfs --regid recentfs --clear-groups "
	)
	for _, c := range []struct {
		script string
		ok     bool
		says   string
	}{
		{member + "recentfs rules", true, "--name T"},
		{member + "recentfs reload", false, "only root may reload: sudo recentfs reload"},
		{member + "cat /run/recentfs/live/host/T.table", false, "Permission denied"},
		{other + "recentfs rules", false, "only root and the group recentfs may speak"},
		{own + "recentfs reload", true, ""},
		// It may read the files, but the kernel gives nobody the descriptors of a
		// process with more capabilities.
		{own + "readlink /proc/$(systemctl show -P MainPID recentfs)/fd/0", false, ""},
		{own + "ls /proc/$(systemctl show -P MainPID recentfs)/map_files", false, "Permission denied"},
		{"recentfs reload", true, ""},
	} {
		if got := s.Run("bash", "-c", c.script); (got.Code == 0) != c.ok || !strings.Contains(got.Stdout+got.Stderr, c.says) {
			t.Errorf("%s: %+v, want %q", c.script, got, c.says)
		}
	}
	s.Sh(`
		systemctl stop recentfs
		touch -d '2 days ago' /var/lib/recentfs/host/* # which a save renews
		recentfs run --rules /etc/recentfs/rules --state /var/lib/recentfs > /run/by-hand 2>&1 &
		timeout 20 sh -c 'until grep -q ready /run/by-hand; do :; done'
		echo +192.0.2.88 > /run/recentfs/xt_recent/T
		recentfs save
		kill -9 $!
		wait $! || :
		umount /run/recentfs/xt_recent /run/recentfs/xt_recent.module # dead, they would keep systemd from giving /run/recentfs to the service
		rm -r /run/recentfs/live # as after a boot
		systemctl start recentfs`)
	if got := s.Sh("cat /run/recentfs/xt_recent/T; find /var/lib/recentfs ! -user recentfs"); !strings.Contains(got, "192.0.2.77") || !strings.Contains(got, "192.0.2.88") || strings.Contains(got, "/var/lib") {
		t.Errorf("after root's recentfs the service has\n%s", got)
	}
	if got := s.Sh("journalctl -u recentfs -o cat --no-pager"); strings.Contains(got, "level=warning msg=\"state:") || strings.Contains(got, "DATA RACE") {
		t.Errorf("the service says\n%s", got)
	}
}
