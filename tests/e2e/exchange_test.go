package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// TestExportImport takes tables from one recentfs to another.
func TestExportImport(t *testing.T) {
	two := strings.Replace(oneTable("ssh"), "COMMIT", "-A QUEUE0 -m recent --set --name web\nCOMMIT", 1)
	from := lab.StartDaemon(t, lab.NewNetns(t), two, "-o", "ip_pkt_list_tot=3")
	to := lab.StartDaemon(t, lab.NewNetns(t), two, "-o", "ip_pkt_list_tot=3")
	from.Sh("for i in 1 2 3 4 5; do for a in 192.0.2.1 2001:db8::$i 192.0.2.$i; do echo +$a > ssh; echo +$a > web; done; done")
	exported := from.Must("export")
	file := filepath.Join(from.Dir, "export")
	if err := os.WriteFile(file, []byte(exported), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for _, table := range []string{"ssh", "web"} {
			if got, want := lab.Chronological(to.Read(table)), lab.Chronological(from.Read(table)); !slices.Equal(got, want) {
				t.Errorf("%s has\n%s\nwant\n%s", table, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	// The two have one clock, so that the stamps are the same too.
	if got := to.Must("import", file); got != "ssh: 10 addresses read: 10 new, 0 changed, 0 as they were\nweb: 10 addresses read: 10 new, 0 changed, 0 as they were\n" {
		t.Errorf("it says %q", got)
	}
	check()
	if got := to.Must("import", file, file); got != "ssh: 20 addresses read: 0 new, 0 changed, 20 as they were\nweb: 20 addresses read: 0 new, 0 changed, 20 as they were\n" {
		t.Errorf("again it says %q", got)
	}
	check()
	from.Sh("echo +192.0.2.3 > ssh; echo +192.0.2.9 > ssh; echo -192.0.2.4 > web")
	to.Sh("echo -192.0.2.4 > web")
	got := to.NS.Sh(t, fmt.Sprintf("%s export -m %s ssh | %s import --control %s", lab.Program(t), from.Mount, lab.Program(t), to.Control))
	if got != "ssh: 11 addresses read: 1 new, 1 changed, 9 as they were\n" {
		t.Errorf("by a pipe it says %q", got)
	}
	check()
	if got := to.Must("import", "--table", "web", filepath.Join(from.Mount, "web")); got != "web: 9 addresses read: 0 new, 0 changed, 9 as they were\n" {
		t.Errorf("of a file of the mount it says %q", got)
	}
}

// TestImportChangesNothing has imports that fail. Each says what is wrong.
func TestImportChangesNothing(t *testing.T) {
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("ssh"))
	d.Sh("echo +192.0.2.1 > ssh")
	before := d.Sh("cat ssh")
	file := func(name, text string) string {
		path := filepath.Join(d.Dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	list := file("list", "192.0.2.2\n")
	for _, c := range []struct {
		name string
		args []string
		want []string // lines
	}{
		{"no such table", []string{list}, []string{`there is no table "list": a table is there as long as a rule names it; --table names another one`, "nothing was imported"}},
		{"bad lines", []string{list, file("bad", "\n192.0.2.0/24\n192.0.2.3\nx\n")}, []string{
			filepath.Join(d.Dir, "bad") + ":2: 192.0.2.0/24 is a prefix of many addresses: a table has single ones",
			filepath.Join(d.Dir, "bad") + `:4: "x" is no address: one as 192.0.2.1 or 2001:db8::1 is needed`, "nothing was imported"}},
		{"no such file", []string{list, d.Dir + "/none"}, []string{"open " + d.Dir + "/none: no such file or directory: nothing was imported"}},
		{"a directory", []string{d.Dir}, []string{d.Dir + ": read " + d.Dir + ": is a directory"}},
		{"another namespace", []string{"--netns", "red", "--table", "ssh", list}, []string{"network namespace red is not served here: see 'recentfs run --netns'"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := d.Recentfs("import", c.args...)
			if want := "recentfs import: " + strings.Join(c.want, "\nrecentfs import: ") + "\n"; got.Code != 1 || got.Stderr != want || got.Stdout != "" {
				t.Errorf("exit %d, %q, %q; want %q", got.Code, got.Stderr, got.Stdout, want)
			}
			if is := d.Sh("cat ssh"); is != before {
				t.Errorf("the table is %q, was %q", is, before)
			}
		})
	}
	if got := d.Must("import", "--table", "ssh", list); got != "ssh: 1 address read: 1 new, 0 changed, 0 as they were\n" {
		t.Errorf("a good one says %q", got)
	}
}

// TestImportDump reads a dump of another kernel: a stamp is as old as it was there
// when the file was written.
func TestImportDump(t *testing.T) {
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("ssh"))
	dump := filepath.Join(d.Dir, "ssh")
	if err := os.WriteFile(dump, []byte("src=192.0.2.1 ttl: 57 last_seen: 4301000000 oldest_pkt: 2 4300970000, 4301000000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"--hz", "1000", "--now", "4301010000", dump}
	d.Must("import", args...)
	if got := d.Must("import", args...); got != "ssh: 1 address read: 0 new, 0 changed, 1 as they were\n" {
		t.Errorf("again it says %q", got)
	}
	info, err := os.Stat(dump)
	if err != nil {
		t.Fatal(err)
	}
	written := float64(info.ModTime().UnixMicro()) / 1e6
	query := fmt.Sprintf(`.ttl, (.times | length), (.times[] - %f | round)`, written)
	if got := d.NS.Sh(t, fmt.Sprintf("%s export -m %s ssh | jq -c '%s'", lab.Program(t), d.Mount, query)); got != "57\n2\n-40\n-10\n" {
		t.Errorf("the stamps are these seconds after the dump: %q", got)
	}
	// Without them it is a dump of this kernel, whose clock is far behind such stamps.
	if err := os.WriteFile(dump, []byte("src=192.0.2.2 ttl: 57 last_seen: 1099511627776 oldest_pkt: 1 1099511627776\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := d.Must("import", dump); !strings.Contains(got, "later than now: they count as now. ") {
		t.Errorf("it says %q", got)
	}
}

// TestImportIpset imports what ipset saves.
func TestImportIpset(t *testing.T) {
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("bad"))
	d.NS.Sh(t, `ipset create bad hash:ip timeout 600
		ipset add bad 192.0.2.1; ipset add bad 192.0.2.2 timeout 100; ipset add bad 192.0.2.3 timeout 0; ipset add bad 192.0.2.4 timeout 6000
		ipset create bad6 hash:ip family inet6 counters comment; ipset add bad6 2001:db8::1 comment "for 1 timeout 5"
		ipset create net hash:net; ipset add net 198.51.100.0/24`)
	program := lab.Program(t)
	got := d.NS.Run(t, "sh", "-c", fmt.Sprintf("ipset save | %s import --control %s", program, d.Control))
	if got.Code != 1 || strings.Count(got.Stderr, "\n") != 2 || !strings.Contains(got.Stderr, "set net is of type hash:net: a table has single addresses, as hash:ip") {
		t.Errorf("with a set of networks: %+v", got)
	}
	told := d.NS.Sh(t, fmt.Sprintf("{ ipset save bad; ipset save bad6; } | %s import --table bad --control %s", program, d.Control))
	if told != "bad: 5 addresses read: 5 new, 0 changed, 0 as they were\n" {
		t.Errorf("it says %q", told)
	}
	// 192.0.2.2 was added 500 seconds ago, or it has lasted a second or some more.
	ages := d.NS.Sh(t, fmt.Sprintf(`%s export -m %s bad | jq -r '.address + " " + (now - .times[-1] | if . < 0 then 0 else . / 100 end | floor | tostring)' | sort`, program, d.Mount))
	if want := "192.0.2.1 0\n192.0.2.2 5\n192.0.2.3 0\n192.0.2.4 0\n2001:db8::1 0\n"; ages != want {
		t.Errorf("their ages in hundreds of seconds are\n%s, want\n%s", ages, want)
	}
}

// TestExchangeNetns imports into one of several namespaces: the one that is named, or
// the caller's.
func TestExchangeNetns(t *testing.T) {
	home := lab.NewNetns(t)
	red := lab.NewNamed(t, "red")
	lab.NewNamed(t, "blue")
	d := lab.StartDaemon(t, home, oneTable("ssh"), "--netns", "red", "--netns", "blue")
	d.AwaitFolders("red", "blue")
	program := lab.Program(t)
	load := fmt.Sprintf("%s import --control %s --table ssh", program, d.Control)
	red.Sh(t, "echo 192.0.2.1 | "+load)
	home.Sh(t, "echo 192.0.2.2 | "+load+" --netns blue")
	for name, want := range map[string]string{"red": "192.0.2.1", "blue": "192.0.2.2"} {
		if got := home.Sh(t, fmt.Sprintf("%s export -m %s --netns %s | jq -r .address", program, d.Mount, name)); got != want+"\n" {
			t.Errorf("%s has %q, want %s", name, got, want)
		}
	}
	if got := home.Run(t, "sh", "-c", "echo ::1 | "+load); got.Code != 1 || !strings.Contains(got.Stderr, "the caller's network namespace is not served here: name one that is by --netns") {
		t.Errorf("from a namespace that is not served: %+v", got)
	}
}

// TestExportUnreadable exports all tables as a user who may not read one of them.
func TestExportUnreadable(t *testing.T) {
	d := lab.StartDaemon(t, lab.NewNetns(t), strings.Replace(oneTable("ssh"), "COMMIT", "-A QUEUE0 -m recent --set --name web\nCOMMIT", 1))
	d.Sh("echo +192.0.2.1 > ssh; echo +192.0.2.2 > web; chmod 600 ssh")
	got := d.As(1000, 1000, lab.Program(t)+" export -m .")
	if got.Code != 1 || !strings.Contains(got.Stdout, "192.0.2.2") || strings.Count(got.Stdout, "\n") != 1 || !strings.Contains(got.Stderr, "ssh: permission denied") {
		t.Errorf("%+v", got)
	}
	if got := d.As(1000, 1000, "echo ::1 | "+lab.Program(t)+" import --table web --control "+d.Control); got.Code != 1 || !strings.Contains(got.Stderr, "only root and the group recentfs may speak to a running recentfs") {
		t.Errorf("import: %+v", got)
	}
}
