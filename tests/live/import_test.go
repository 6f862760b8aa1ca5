package live

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// TestLiveImport imports the kernel's own tables, those of two network namespaces,
// while recentfs covers /proc/net. Ours have the same stamps then.
func TestLiveImport(t *testing.T) {
	needKernel(t)
	home, red := lab.NewNetns(t), lab.NewNamed(t, "red")
	rules := strings.Replace(oneTable, "COMMIT", "-A QUEUE0 -m recent --set --name web\nCOMMIT", 1)
	fill := func(ns *lab.Netns, net int) {
		t.Helper()
		ns.Sh(t, fmt.Sprintf(`
			for table in ssh web; do iptables-legacy -w -A INPUT -m recent --set --name $table; done
			cd /proc/self/net/xt_recent
			for i in $(seq 40); do for a in 10.%d.0.$((i %% 7)) 2001:db8::%[1]d; do echo +$a > ssh; echo +$a > web; done; done
			echo +192.0.2.1 > web`, net))
	}
	fill(home, 1)
	fill(red, 2)
	d := lab.StartDaemon(t, home, rules, "--compat", "modern", "--netns", "all", "--proc-net")
	d.AwaitFolders("host", "red")
	told := "ssh: 8 addresses read: 8 new, 0 changed, 0 as they were\nweb: 9 addresses read: 9 new, 0 changed, 0 as they were\n"
	if got := d.Must("import", "--kernel"); got != told {
		t.Errorf("of its own namespace it says %q, want %q", got, told)
	}
	if got := d.Must("import", "--kernel", "--netns", "red"); got != told {
		t.Errorf("of red it says %q, want %q", got, told)
	}
	for name, ns := range map[string]*lab.Netns{"host": home, "red": red} {
		for _, table := range []string{"ssh", "web"} {
			var kernel string
			err := ns.Do(func() error {
				text, err := os.ReadFile(filepath.Join(procDir, table))
				kernel = string(text)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			all, err := lab.ParseEntries(kernel)
			if err != nil {
				t.Fatal(err)
			}
			ours := d.ReadPath(filepath.Join(d.Folder(name), table))
			if got, want := lab.Chronological(ours), lab.Chronological(all); !slices.Equal(got, want) {
				t.Errorf("%s of %s has\n%s\nwant\n%s", table, name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	same := "ssh: 8 addresses read: 0 new, 0 changed, 8 as they were\n"
	for _, command := range []string{
		"%[1]s export -m /proc/self/net/xt_recent ssh | %[1]s import --control %[2]s",
		"%[1]s import --control %[2]s /proc/self/net/xt_recent/ssh",
		"cat /proc/self/net/xt_recent/ssh | %[1]s import --control %[2]s --table ssh",
	} {
		if got := home.Sh(t, fmt.Sprintf(command, lab.Program(t), d.Control)); got != same {
			t.Errorf("%s says %q", command, got)
		}
	}
	home.Sh(t, "iptables-legacy -w -A INPUT -m recent --set --name other; echo +::1 > /proc/self/net/xt_recent/other")
	if got := d.Recentfs("import", "--kernel"); got.Code != 1 || !strings.Contains(got.Stderr, `there is no table "other"`) {
		t.Errorf("with a table that we lack: %+v", got)
	}
	if got := d.Recentfs("import", "--kernel", "--netns", "nosuch"); got.Code != 1 || !strings.Contains(got.Stderr, "network namespace nosuch: ") {
		t.Errorf("of a namespace that is not there: %+v", got)
	}
}
