package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// TestShellWrites writes into a table from a shell. The table then decides on the
// next packet.
func TestShellWrites(t *testing.T) {
	for _, f := range lab.Families {
		t.Run(f.Name, func(t *testing.T) {
			l, d := guarded(t, f, lab.TCPProbe, `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -m recent --rcheck --name BAD --rsource -j DROP
COMMIT
`)
			for _, step := range []struct {
				script string
				pass   bool
			}{
				{": nothing yet", true},
				{"echo +%v > BAD", false},
				{"echo -%v > BAD", true},
				{"echo +%v >> BAD", false},
				{"echo / > BAD", true},
				{"echo +%v | tee BAD >/dev/null", false},
				{"printf -- -%v | dd of=BAD 2>/dev/null", true},
				{"exec 3<>BAD; echo +%v >&3", false},
				{"sh -c 'echo / > BAD; echo +%v > BAD; echo -%v > BAD'", true},
			} {
				script := strings.ReplaceAll(step.script, "%v", f.Client.String())
				d.Sh(script)
				t.Log(script)
				if step.pass {
					l.Passes(lab.TCPProbe, f)
				} else {
					l.Dropped(lab.TCPProbe, f)
				}
			}
		})
	}
}

// TestWriteMeetsPacket: writes and packets of one address share one entry.
func TestWriteMeetsPacket(t *testing.T) {
	for _, f := range lab.Families {
		t.Run(f.Name, func(t *testing.T) {
			l, d := guarded(t, f, lab.UDPProbe, `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -m recent --set --name SEEN --rsource
COMMIT
`)
			d.Sh(fmt.Sprintf("test -e SEEN; test ! -s SEEN; echo +%v > SEEN", f.Client))
			if got := d.Only("SEEN"); got.TTL != 0 || got.Src != inLines(f.Client) || len(got.Stamps) != 1 {
				t.Errorf("after a write: %+v, want TTL 0 and one stamp", got)
			}
			l.Passes(lab.UDPProbe, f)
			if got := d.Only("SEEN"); got.TTL != 64 || len(got.Stamps) != 2 || got.Oldest != 2 {
				t.Errorf("after a packet: %+v, want TTL 64 and two stamps", got)
			}
			d.Sh(fmt.Sprintf("echo +%v > SEEN", f.Client))
			if got := d.Only("SEEN"); got.TTL != 64 || len(got.Stamps) != 3 || got.Oldest != 3 {
				t.Errorf("after another write: %+v, want TTL 64 and three stamps", got)
			}
			if fields := strings.Fields(d.Sh("cat SEEN")); fields[4] != fmt.Sprint(d.Only("SEEN").LastSeen) {
				t.Errorf("the fifth field is %q, want last_seen", fields[4])
			}
		})
	}
}

// TestRing runs a classic entry past the end of its ring of 20.
func TestRing(t *testing.T) {
	l, d := guarded(t, lab.IPv4, lab.UDPProbe, `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -m recent --set --name RING --rsource
COMMIT
`)
	for range 23 {
		l.Passes(lab.UDPProbe, lab.IPv4)
	}
	got := d.Only("RING")
	if len(got.Stamps) != 20 || got.Oldest != 3 || got.LastSeen != got.Stamps[2] {
		t.Errorf("after 23 packets: %+v, want 20 stamps, the last of them the third", got)
	}
	if got.Stamps[3] > got.Stamps[19] || got.Stamps[19] > got.Stamps[0] {
		t.Errorf("stamps are not in the order of the ring: %v", got.Stamps)
	}
}

// TestPermissions: ip_list_uid, ip_list_gid and ip_list_perms, and later chmod
// and chown, decide who may do what.
func TestPermissions(t *testing.T) {
	const owner, group, other = 4711, 4712, 4713
	ns := lab.NewNetns(t)
	d := lab.StartDaemon(t, ns, oneTable("T"), "-o", "ip_list_perms=0640,ip_list_uid=4711", "-o", "ip_list_gid=4712")
	if got := d.Sh("stat -c '%a %u %g %s %F' T; stat -c '%a %u %g' ."); got != "640 4711 4712 0 regular empty file\n555 0 0\n" {
		t.Errorf("stat says %q", got)
	}
	for _, c := range []struct {
		name     string
		uid, gid uint32
		change   string // root's script, which runs first
		script   string
		ok       bool
	}{
		{"owner writes", owner, other, "", "echo +192.0.2.1 > T", true},
		{"owner reads", owner, other, "", "grep -q 192.0.2.1 T", true},
		{"group reads", other, group, "", "cat T", true},
		{"group does not write", other, group, "", "echo / > T", false},
		{"others do not read", other, other, "", "cat T", false},
		{"others do not write", other, other, "", "echo / > T", false},
		{"others list", other, other, "", "ls -l T", true},
		{"nobody makes a table", owner, group, "", "touch U", false},
		{"nobody deletes one", owner, group, "", "rm -f T", false},
		{"others do not chmod", other, other, "", "chmod 666 T", false},
		{"owner does chmod", owner, other, "", "chmod 600 T", true},
		{"after which the group does not read", other, group, "", "cat T", false},
		{"root opens it to all", other, other, "chmod 666 T", "echo +192.0.2.2 > T", true},
		{"root gives it away", other, other, "chmod 600 T; chown 4713:4713 T", "echo +192.0.2.3 > T", true},
		{"after which the first owner does not read", owner, other, "", "cat T", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.Sh(c.change)
			if got := d.As(c.uid, c.gid, c.script); (got.Code == 0) != c.ok {
				t.Errorf("%s as %d:%d: exit %d, %s", c.script, c.uid, c.gid, got.Code, got.Stderr)
			}
		})
	}
	for _, script := range []string{"touch U", "rm -f T", "mv T U", "ln -s T U", "mkdir U"} {
		if got := d.NS.Run(t, "sh", "-c", "cd "+d.Mount+" && "+script); got.Code == 0 {
			t.Errorf("root: %s succeeded", script)
		}
	}
	if got := d.Tables(); !slices.Equal(got, []string{"T"}) {
		t.Errorf("tables: %q", got)
	}
}

// TestCommands runs show, add, del and flush, which use the mount's files.
func TestCommands(t *testing.T) {
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"))
	d.Must("add", "T", "192.0.2.1", "2001:db8::1")
	d.Must("add", "T", "192.0.2.2")
	d.Must("del", "T", "192.0.2.1")
	if got := d.Read("T"); len(got) != 2 {
		t.Errorf("T has %v, want 192.0.2.2 and 2001:db8::1", got)
	}
	for _, want := range []string{"T", "192.0.2.2", "2001:db8::1"} {
		if got := d.Must("show"); !strings.Contains(got, want) {
			t.Errorf("show does not name %s:\n%s", want, got)
		}
	}
	var object struct{ Table, Address string }
	if got := d.Must("show", "T", "192.0.2.0/24", "--json", "--sort", "last", "--limit", "5", "--since", "1w1d12h"); json.Unmarshal([]byte(got), &object) != nil ||
		object.Table != "T" || object.Address != "192.0.2.2" {
		t.Errorf("show T --json: %s", got)
	}
	d.Must("flush", "T")
	if got := d.Read("T"); len(got) != 0 {
		t.Errorf("after flush: %v", got)
	}
	for _, c := range []struct {
		code int
		bad  string
		args []string
	}{
		{2, "192.0.2.256", []string{"add", "T", "192.0.2.256"}},
		{1, "ABSENT", []string{"add", "ABSENT", "192.0.2.1"}},
		{2, "localhost", []string{"del", "T", "localhost"}},
		{1, "ABSENT", []string{"flush", "ABSENT"}},
		{1, "ABSENT", []string{"show", "ABSENT"}},
		{1, "192.0.2.3 is not in it", []string{"show", "T", "192.0.2.3"}},
	} {
		got := d.Recentfs(c.args[0], c.args[1:]...)
		if got.Code != c.code || strings.Count(got.Stderr, "\n") != 1 || !strings.Contains(got.Stderr, c.bad) {
			t.Errorf("recentfs %q: exit %d, %q; want exit %d and one line that names %s", c.args, got.Code, got.Stderr, c.code, c.bad)
		}
	}
	if got := d.Read("T"); len(got) != 0 {
		t.Errorf("commands that failed left entries: %v", got)
	}
}
