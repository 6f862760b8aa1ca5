package e2e

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestControlFlood opens thousands of connections to the control socket that
// never finish a request. The daemon keeps few of them, and still answers.
func TestControlFlood(t *testing.T) {
	const (
		connections = 3000
		// few is how many descriptors the daemon may spend on them.
		few = 100
	)
	for _, c := range []struct{ name, text string }{
		{"silent", ""},
		{"half a line", "GET /rul"},
		{"half a request", "GET /rules HTTP/1.1\r\nHost: recentfs\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"))
			before := d.Descriptors()
			for range connections {
				conn, err := net.Dial("unix", d.Control)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				// The daemon may have closed the connection by now.
				_, _ = conn.Write([]byte(c.text))
			}
			d.Must("rules")
			d.Must("reload")
			if n := d.Descriptors(); n > before+few {
				t.Errorf("the daemon has %d descriptors open, and had %d before the flood", n, before)
			}
		})
	}
}

// TestControlUsers has users speak to a daemon: root, members of the group recentfs,
// and others, each also as root of a user namespace.
func TestControlUsers(t *testing.T) {
	const other = 4713
	_, group := recentfsUser(t)
	lab.Program(t)
	defer syscall.Umask(syscall.Umask(0o077)) // which the daemon gets, and must make no difference
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"))
	var stat unix.Stat_t
	if err := unix.Stat(d.Control, &stat); err != nil || stat.Mode != unix.S_IFSOCK|0o660 || stat.Uid != 0 || stat.Gid != group {
		t.Errorf("the socket has mode %o, owner %d and group %d, %v", stat.Mode, stat.Uid, stat.Gid, err)
	}
	const (
		yes = iota
		toldNo
		unheard
	)
	for _, c := range []struct {
		somebody
		rules, change int
	}{
		{somebody{name: "root"}, yes, yes},
		{somebody{name: "a member", uid: other, gid: group}, yes, toldNo},
		{somebody{name: "a member by another group", uid: other, gid: other, groups: []uint32{7, group}}, yes, toldNo},
		{somebody{name: "a member inside", uid: other, gid: group, inside: true}, yes, toldNo},
		{somebody{name: "root of the group inside", uid: 0, gid: group, inside: true}, yes, yes}, // who is root outside
		{somebody{name: "another", uid: other, gid: other}, unheard, unheard},
		{somebody{name: "another inside", uid: other, gid: other, inside: true}, unheard, unheard},
	} {
		t.Run(c.name, func(t *testing.T) {
			for script, want := range map[string]int{"rules": c.rules, "reload": c.change, "save": c.change, "import --table T -": c.change} {
				got := c.run(d, "echo 192.0.2.1 | "+lab.Program(t)+" "+script+" --control "+d.Control)
				said := ""
				switch want {
				case toldNo:
					verb, _, _ := strings.Cut(script, " ")
					said = fmt.Sprintf("only root may %s: sudo recentfs %[1]s\n", verb)
				case unheard:
					said = "only root and the group recentfs may speak to a running recentfs: sudo usermod -aG recentfs USER, and log in again\n"
				case yes:
					if script == "save" { // there is nowhere to save to
						want, said = toldNo, "recentfs keeps no tables"
					}
				}
				if (got.Code == 0) != (want == yes) || !strings.Contains(got.Stderr, said) {
					t.Errorf("%s: %+v, want %q", script, got, said)
				}
			}
		})
	}
}
