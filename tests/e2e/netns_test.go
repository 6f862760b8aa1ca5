package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestNetns serves two namespaces that have a table of the same name, but not a
// third namespace.
func TestNetns(t *testing.T) {
	home := lab.NewNetns(t)
	red, blue, green := lab.NewNamed(t, "red"), lab.NewNamed(t, "blue"), lab.NewNamed(t, "green")
	d := lab.StartDaemon(t, home, sshSeen, "--netns", "red", "--netns", "blue")
	d.AwaitFolders("red", "blue")
	home.Sh(t, "echo +192.0.2.1 > "+d.Folder("red")+"/ssh; echo +192.0.2.2 > "+d.Folder("blue")+"/ssh")

	// `self`, as each namespace sees it; the same table under exec, and by show.
	for _, c := range []struct {
		name string
		ns   *lab.Netns
		want string // an address, or empty for no table
	}{{"red", red, "192.0.2.1"}, {"blue", blue, "192.0.2.2"}, {"green", green, ""}, {"home", home, ""}} {
		t.Run(c.name, func(t *testing.T) {
			for _, command := range []string{
				"cat " + d.Mount + "/self/ssh",
				"cat " + d.Mount + ".module/self/ssh",
				lab.Program(t) + " exec --mountpoint " + d.Mount + " -- cat /proc/net/xt_recent/ssh",
				lab.Program(t) + " exec --mountpoint " + d.Mount + " -- sh -c 'cat /proc/net/ipt_recent/ssh'",
				lab.Program(t) + " exec --mountpoint " + d.Mount + " --netns " + c.ns.Path + " -- cat /proc/net/xt_recent/ssh",
				lab.Program(t) + " show --mountpoint " + d.Mount + " ssh",
			} {
				got := c.ns.Run(t, "sh", "-c", command)
				if c.want == "" && (got.Code == 0 || got.Stdout != "" || got.Stderr == "") {
					t.Errorf("%s: exit %d, %q, %q; want no such table", command, got.Code, got.Stdout, got.Stderr)
				}
				if c.want != "" && (got.Code != 0 || !strings.Contains(got.Stdout, c.want) || strings.Count(got.Stdout, "192.0.2.") != 1) {
					t.Errorf("%s: exit %d, %q, %q; want %s alone", command, got.Code, got.Stdout, got.Stderr, c.want)
				}
			}
		})
	}

	if got := green.Run(t, lab.Program(t), "show", "--mountpoint", d.Mount); got.Code != 1 || !strings.Contains(got.Stderr, "this network namespace has no tables: ") {
		t.Errorf("show without a namespace of its own: %+v", got)
	}
	// By name, from anywhere.
	green.Sh(t, fmt.Sprintf("%s add --mountpoint %s --netns blue ssh 192.0.2.3; grep -q 192.0.2.3 %s/ssh", lab.Program(t), d.Mount, d.Folder("blue")))
	rules := d.Must("rules")
	for _, name := range []string{"red", "blue"} {
		if strings.Count(rules, "# network namespace "+name+"\n*recent\n") != 1 || !strings.Contains(d.Must("rules", "--netns", name), "--name ssh") {
			t.Errorf("rules of %s:\n%s", name, rules)
		}
	}
	if got := d.Recentfs("rules", "--netns", "green"); got.Code != 1 || !strings.Contains(got.Stderr, "green") {
		t.Errorf("rules of a namespace that is not managed: exit %d, %q", got.Code, got.Stderr)
	}
	wantQueues := func(ns *lab.Netns, want int) {
		t.Helper()
		if q := ns.Queues(t); len(q) != want {
			t.Errorf("queues %v, want %d", q, want)
		}
	}
	wantQueues(red, 1)
	wantQueues(blue, 1)
	wantQueues(green, 0)
	wantQueues(home, 0)

	// One loses its name while its table is open.
	table, err := os.OpenFile(d.Folder("red")+"/ssh", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := lab.Detach("red"); err != nil {
		t.Fatal(err)
	}
	d.AwaitFolders("blue")
	wantQueues(red, 0)
	if _, err := table.Write([]byte("/")); err == nil {
		t.Error("a table of a namespace that is gone can be written")
	}
	for _, path := range []string{d.Folder("red"), d.Folder("red") + "/ssh"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("stat %s: %v", path, err)
		}
	}
	// It gets its name back, and a new table.
	red.Attach(t, "red")
	d.AwaitFolders("red", "blue")
	if text := home.Sh(t, "cat "+d.Folder("red")+"/ssh"); text != "" {
		t.Errorf("the table of a namespace that came again: %q", text)
	}
	wantQueues(red, 1)
	if n := strings.Count(d.Output.String(), "red is gone"); n != 1 {
		t.Errorf("that red is gone was said %d times:\n%s", n, &d.Output)
	}
}

// TestNetnsNames gives the served namespaces further names and takes these away:
// the namespaces keep their tables.
func TestNetnsNames(t *testing.T) {
	home, red, other := lab.NewNetns(t), lab.NewNamed(t, "red"), lab.NewNetns(t)
	d := lab.StartDaemon(t, home, sshSeen, "--netns", "all")
	d.AwaitFolders("host", "red")
	home.Sh(t, "for name in host red; do echo +192.0.2.1 > "+d.Mount+"/ns/$name/ssh; done")
	red.Attach(t, "a-red")   // before red in the listing
	home.Attach(t, "a-home") // the daemon's own
	other.Attach(t, "host")  // a name that is taken
	lab.NewNamed(t, "last")  // when this one shows, the daemon has seen the others
	d.AwaitFolders("host", "last", "red")
	for _, name := range []string{"a-red", "a-home", "host"} {
		if err := lab.Detach(name); err != nil {
			t.Fatal(err)
		}
	}
	// Not lazily, unlike ip(8): the daemon must not keep the mount busy.
	if err := unix.Unmount(filepath.Join(lab.NetnsDir, "last"), 0); err != nil {
		t.Errorf("umount of a namespace that is served: %v", err)
	}
	d.AwaitFolders("host", "red")
	for _, name := range []string{"host", "red"} {
		if e := d.ReadPath(filepath.Join(d.Folder(name), "ssh")); len(e) != 1 {
			t.Errorf("the table of %s: %v", name, e)
		}
	}
	if strings.Contains(d.Output.String(), "red is gone") || strings.Contains(d.Output.String(), "host is gone") {
		t.Errorf("the daemon says:\n%s", &d.Output)
	}
	if got := d.Recentfs("show", "--netns", "typo"); got.Code != 1 || !strings.Contains(got.Stderr, "network namespace typo is not served there") {
		t.Errorf("show of a namespace that is not there: %+v", got)
	}
}

// TestNetnsRules gives one namespace rules of its own. A reload exchanges the
// rules of all namespaces or of none.
func TestNetnsRules(t *testing.T) {
	home := lab.NewNetns(t)
	lab.NewNamed(t, "red")
	lab.NewNamed(t, "blue")
	d := lab.NewDaemon(t, home, sshSeen)
	own := filepath.Join(d.Dir, "blue.rules")
	write := func(table string) {
		t.Helper()
		if err := os.WriteFile(own, []byte(strings.ReplaceAll(sshSeen, "ssh", table)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("web")
	d.Start("--netns", "all", "--netns-rules", "blue="+own)
	t.Cleanup(d.Stop)
	d.AwaitFolders("red", "blue", "host")
	list := func(name string) string { return strings.TrimSpace(home.Sh(t, "ls "+d.Folder(name))) }
	want := func(red, blue string) {
		t.Helper()
		if r, b := list("red"), list("blue"); r != red || b != blue {
			t.Errorf("red has %q, blue has %q, want %q and %q", r, b, red, blue)
		}
	}
	want("ssh", "web")
	home.Sh(t, "echo +192.0.2.1 > "+d.Folder("red")+"/ssh")

	write("mail")
	d.Must("reload")
	want("ssh", "mail")
	write("-")
	d.SetRules("*recent\nnonsense\nCOMMIT\n")
	if got := d.Recentfs("reload"); got.Code != 1 || !strings.Contains(got.Stderr, d.Rules+":2: ") {
		t.Errorf("a reload of bad rules: exit %d, %q", got.Code, got.Stderr)
	}
	want("ssh", "mail")
	// A queue that is taken in one namespace: nothing changes in any.
	other := startOther(t, "red", 7)
	d.SetRules(strings.ReplaceAll(sshSeen, "QUEUE0", "QUEUE7"))
	if got := d.Recentfs("reload"); got.Code != 1 || !strings.Contains(got.Stderr, "network namespace red: queue 7: taken by ") {
		t.Errorf("a reload for a queue that is taken: exit %d, %q", got.Code, got.Stderr)
	}
	want("ssh", "mail")
	other()
	d.SetRules(sshSeen)
	d.Must("reload")
	want("ssh", "-")
	if text := home.Sh(t, "cat "+d.Folder("red")+"/ssh"); !strings.HasPrefix(text, "src=192.0.2.1 ") {
		t.Errorf("red's table after reloads: %q", text)
	}
}

// startOther starts another recentfs in a namespace, on a queue of its own. stop
// stops it.
func startOther(t *testing.T, name string, queue int) (stop func()) {
	t.Helper()
	ns := lab.NewNetns(t)
	d := lab.NewDaemon(t, ns, strings.ReplaceAll(sshSeen, "QUEUE0", fmt.Sprintf("QUEUE%d", queue)))
	d.Start("--netns", name)
	return d.Stop
}

// TestNetnsBad starts daemons for namespaces that cannot be served.
func TestNetnsBad(t *testing.T) {
	home := lab.NewNetns(t)
	lab.NewNamed(t, "red")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no such name", []string{"--netns", "nosuch"}, 1, "network namespace nosuch: /run/netns/nosuch is not there"},
		{"no such process", []string{"--netns", "999999999"}, 1, "network namespace of process 999999999: "},
		{"no namespace", []string{"--netns", "/etc/passwd"}, 1, "/etc/passwd is no network namespace"},
		{"another kind", []string{"--netns", "/proc/self/ns/mnt"}, 1, "/proc/self/ns/mnt is no network namespace"},
		{"nothing", []string{"--netns", ""}, 1, `network namespace ""`},
		{"two of a name", []string{"--netns", "red", "--netns", "/proc/self/ns/../ns/../root/run/netns/red"}, 1, "would both be called red"},
		{"rules for nobody", []string{"--netns", "red", "--netns-rules", "blue=x"}, 1, "no such file"},
		{"rules without namespaces", []string{"--netns-rules", "blue=x"}, 2, "it goes with --netns"},
		{"rules without a file", []string{"--netns", "red", "--netns-rules", "blue"}, 2, "NAME=FILE is needed"},
		{"rules twice", []string{"--netns", "red", "--netns-rules", "red=x", "--netns-rules", "red=y"}, 2, "there is a file for red already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := lab.NewDaemon(t, home, sshSeen)
			got := home.Finish(t, d.Command(c.args...))
			if got.Code != c.code || strings.Count(got.Stderr, "\n") != 1 || !strings.Contains(got.Stderr, c.want) {
				t.Errorf("exit %d, %q; want exit %d, one line with %q", got.Code, got.Stderr, c.code, c.want)
			}
			if left, _ := os.ReadDir(d.Dir); len(left) != 1 {
				t.Errorf("it left %v behind", left)
			}
		})
	}
	t.Run("rules for a namespace that is not selected", func(t *testing.T) {
		d := lab.NewDaemon(t, home, sshSeen)
		got := home.Finish(t, d.Command("--netns", "red", "--netns-rules", "blue="+d.Rules))
		if got.Code != 1 || !strings.Contains(got.Stderr, "--netns-rules blue: no --netns selects a namespace of that name") {
			t.Errorf("exit %d, %q", got.Code, got.Stderr)
		}
	})
}
