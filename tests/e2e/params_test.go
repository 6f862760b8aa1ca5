package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"recentfs/tests/lab"
)

// TestReloadParams changes the file of --modprobe-conf of a running daemon, by
// `recentfs reload` and by SIGHUP.
func TestReloadParams(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "recent.conf")
	write := func(options string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte("# xt_recent\noptions xt_recent "+options+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("ip_list_tot=50 ip_pkt_list_tot=10")
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"), "--modprobe-conf", conf, "-o", "ip_list_gid=3")
	d.Sh("for i in 1 2 3 4 5 6 7 8 9; do for n in 1 2 3 4 5 6; do echo +192.0.2.$i > T; done; done; echo +192.0.2.2 > T")
	parameter := func(name string) string {
		return d.Sh("cat ../" + filepath.Base(d.Mount) + ".module/parameters/" + name)
	}
	before := d.Read("T")

	write("ip_list_tot=4 ip_pkt_list_tot=3 ip_list_perms=0600 ip_list_gid=9")
	got := d.Must("reload")
	want := `ip_list_tot is 4 now, and was 50
ip_pkt_list_tot is 3 now, and was 10
ip_list_perms is 0600 now, and was 0644, for new tables: those that are there keep theirs
ip_list_gid stays 3, as -o says: 9 in the file of --modprobe-conf has no effect
table T keeps 4 of 9 addresses, those that were seen last
`
	if got != want {
		t.Errorf("the reload says %q", got)
	}
	var lines []string
	for _, i := range []int{1, 6, 7, 8} { // as in the file before, .2 is the second
		e := before[i]
		lines = append(lines, fmt.Sprintf("%s 3 %d", e.Src, e.Stamps[len(e.Stamps)-1]))
	}
	var now []string
	for _, e := range d.Read("T") {
		now = append(now, fmt.Sprintf("%s %d %d", e.Src, len(e.Stamps), e.Stamps[len(e.Stamps)-1]))
	}
	if strings.Join(now, ", ") != strings.Join(lines, ", ") {
		t.Errorf("the table holds %q, want %q", now, lines)
	}
	if got := parameter("ip_list_tot") + parameter("ip_pkt_list_tot") + parameter("ip_list_hash_size"); got != "4\n3\n8\n" {
		t.Errorf("the parameters' files say %q", got)
	}
	for range 2 { // there is room for 4
		d.Sh("echo +192.0.2.100 > T; echo +192.0.2.101 > T")
		if n := len(d.Read("T")); n != 4 {
			t.Errorf("%d addresses", n)
		}
	}

	write("ip_list_tot=many")
	if got := d.Recentfs("reload"); got.Code != 1 || !strings.Contains(got.Stderr, conf+`:2: ip_list_tot="many"`) || parameter("ip_list_tot") != "4\n" {
		t.Errorf("a bad file: exit %d, %q", got.Code, got.Stderr)
	}

	write("ip_list_tot=6 ip_pkt_list_tot=3 ip_list_perms=0600")
	d.Signal(syscall.SIGHUP)
	lab.Eventually(t, "the daemon reloads", func() error {
		if got := parameter("ip_list_tot"); got != "6\n" || !strings.Contains(d.Output.String(), "1 table changed in size: all addresses stay") {
			return fmt.Errorf("ip_list_tot is %s; it says %s", got, &d.Output)
		}
		return nil
	})
	if got := d.Must("reload"); got != "" {
		t.Errorf("a reload without a change says %q", got)
	}
}
