package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sshSeen has one table, into which every packet of queue 0 goes.
const sshSeen = "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -m recent --set --name ssh\nCOMMIT\n"

// folder is the path of a namespace's folder in the mount.
func (d *daemon) folder(name string) string { return filepath.Join(d.mount, "ns", name) }

// awaitFolders waits until the mount shows just those namespaces.
func (d *daemon) awaitFolders(want ...string) {
	d.t.Helper()
	slices.Sort(want) // as ReadDir does
	eventually(d.t, fmt.Sprintf("folders %q", want), func() error {
		files, err := os.ReadDir(filepath.Join(d.mount, "ns"))
		if err != nil {
			return err
		}
		var names []string
		for _, f := range files {
			names = append(names, f.Name())
		}
		if fmt.Sprint(names) != fmt.Sprint(want) {
			return fmt.Errorf("there are %q; %s", names, &d.output)
		}
		return nil
	})
}

// TestNetns serves two namespaces that have a table of the same name, and not a
// third.
func TestNetns(t *testing.T) {
	home := newNetns(t)
	red, blue, green := newNamed(t, "red"), newNamed(t, "blue"), newNamed(t, "green")
	d := startDaemon(t, home, sshSeen, "--netns", "red", "--netns", "blue")
	d.awaitFolders("red", "blue")
	home.sh(t, "echo +192.0.2.1 > "+d.folder("red")+"/ssh; echo +192.0.2.2 > "+d.folder("blue")+"/ssh")

	// `self`, as seen from each; the same cat under exec; show and add.
	for _, c := range []struct {
		name string
		ns   *netns
		want string // an address, or empty for no table
	}{{"red", red, "192.0.2.1"}, {"blue", blue, "192.0.2.2"}, {"green", green, ""}, {"home", home, ""}} {
		t.Run(c.name, func(t *testing.T) {
			for _, command := range []string{
				"cat " + d.mount + "/self/ssh",
				"cat " + d.mount + ".module/self/ssh",
				binary(t) + " exec --mountpoint " + d.mount + " -- cat /proc/net/xt_recent/ssh",
				binary(t) + " exec --mountpoint " + d.mount + " -- sh -c 'cat /proc/net/ipt_recent/ssh'",
				binary(t) + " exec --mountpoint " + d.mount + " --netns " + c.ns.path + " -- cat /proc/net/xt_recent/ssh",
				binary(t) + " show --mountpoint " + d.mount + " ssh",
			} {
				got := c.ns.run(t, "sh", "-c", command)
				if c.want == "" && (got.code == 0 || got.stdout != "" || got.stderr == "") {
					t.Errorf("%s: exit %d, %q, %q; want no such table", command, got.code, got.stdout, got.stderr)
				}
				if c.want != "" && (got.code != 0 || !strings.Contains(got.stdout, c.want) || strings.Count(got.stdout, "192.0.2.") != 1) {
					t.Errorf("%s: exit %d, %q, %q; want %s alone", command, got.code, got.stdout, got.stderr, c.want)
				}
			}
		})
	}

	if got := green.run(t, binary(t), "show", "--mountpoint", d.mount); got.code != 1 || !strings.Contains(got.stderr, "this network namespace has no tables: ") {
		t.Errorf("show without a namespace of its own: %+v", got)
	}
	// By name, from anywhere.
	green.sh(t, fmt.Sprintf("%s add --mountpoint %s --netns blue ssh 192.0.2.3; grep -q 192.0.2.3 %s/ssh", binary(t), d.mount, d.folder("blue")))
	rules := d.must("rules")
	for _, name := range []string{"red", "blue"} {
		if strings.Count(rules, "# network namespace "+name+"\n*recent\n") != 1 || !strings.Contains(d.must("rules", "--netns", name), "--name ssh") {
			t.Errorf("rules of %s:\n%s", name, rules)
		}
	}
	if got := d.recentfs("rules", "--netns", "green"); got.code != 1 || !strings.Contains(got.stderr, "green") {
		t.Errorf("rules of a namespace that is not managed: exit %d, %q", got.code, got.stderr)
	}
	wantQueues := func(ns *netns, want int) {
		t.Helper()
		if q := ns.queues(t); len(q) != want {
			t.Errorf("queues %v, want %d", q, want)
		}
	}
	wantQueues(red, 1)
	wantQueues(blue, 1)
	wantQueues(green, 0)
	wantQueues(home, 0)

	// One goes, with descriptors of its table open.
	table, err := os.OpenFile(d.folder("red")+"/ssh", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := detach("red"); err != nil {
		t.Fatal(err)
	}
	d.awaitFolders("blue")
	wantQueues(red, 0)
	if _, err := table.Write([]byte("/")); err == nil {
		t.Error("a table of a namespace that is gone can be written")
	}
	for _, path := range []string{d.folder("red"), d.folder("red") + "/ssh"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("stat %s: %v", path, err)
		}
	}
	// It comes again, and its table is a new one.
	red.attach(t, "red")
	d.awaitFolders("red", "blue")
	if text := home.sh(t, "cat "+d.folder("red")+"/ssh"); text != "" {
		t.Errorf("the table of a namespace that came again: %q", text)
	}
	wantQueues(red, 1)
	if n := strings.Count(d.output.String(), "red is gone"); n != 1 {
		t.Errorf("that red is gone was said %d times:\n%s", n, &d.output)
	}
}

// TestNetnsNames gives namespaces that are served further names, and takes them
// away: that is no reason to lose a table.
func TestNetnsNames(t *testing.T) {
	home, red, other := newNetns(t), newNamed(t, "red"), newNetns(t)
	d := startDaemon(t, home, sshSeen, "--netns", "all")
	d.awaitFolders("host", "red")
	home.sh(t, "for name in host red; do echo +192.0.2.1 > "+d.mount+"/ns/$name/ssh; done")
	red.attach(t, "a-red")   // before red in the listing
	home.attach(t, "a-home") // the daemon's own
	other.attach(t, "host")  // a name that is taken
	newNamed(t, "last")      // and now it has seen them all
	d.awaitFolders("host", "last", "red")
	for _, name := range []string{"a-red", "a-home", "host"} {
		if err := detach(name); err != nil {
			t.Fatal(err)
		}
	}
	// Not lazily, as others than ip(8) do it: nothing keeps the mount busy.
	if err := unix.Unmount(filepath.Join(netnsDir, "last"), 0); err != nil {
		t.Errorf("umount of a namespace that is served: %v", err)
	}
	d.awaitFolders("host", "red")
	for _, name := range []string{"host", "red"} {
		if e := d.readPath(filepath.Join(d.folder(name), "ssh")); len(e) != 1 {
			t.Errorf("the table of %s: %v", name, e)
		}
	}
	if strings.Contains(d.output.String(), "red is gone") || strings.Contains(d.output.String(), "host is gone") {
		t.Errorf("the daemon says:\n%s", &d.output)
	}
	if got := d.recentfs("show", "--netns", "typo"); got.code != 1 || !strings.Contains(got.stderr, "network namespace typo is not served there") {
		t.Errorf("show of a namespace that is not there: %+v", got)
	}
}

// TestNetnsRules gives one namespace rules of its own, and reloads: all or
// none.
func TestNetnsRules(t *testing.T) {
	home := newNetns(t)
	newNamed(t, "red")
	newNamed(t, "blue")
	d := newDaemon(t, home, sshSeen)
	own := filepath.Join(d.dir, "blue.rules")
	write := func(table string) {
		t.Helper()
		if err := os.WriteFile(own, []byte(strings.ReplaceAll(sshSeen, "ssh", table)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("web")
	d.start("--netns", "all", "--netns-rules", "blue="+own)
	t.Cleanup(d.stop)
	d.awaitFolders("red", "blue", "host")
	list := func(name string) string { return strings.TrimSpace(home.sh(t, "ls "+d.folder(name))) }
	want := func(red, blue string) {
		t.Helper()
		if r, b := list("red"), list("blue"); r != red || b != blue {
			t.Errorf("red has %q, blue has %q, want %q and %q", r, b, red, blue)
		}
	}
	want("ssh", "web")
	home.sh(t, "echo +192.0.2.1 > "+d.folder("red")+"/ssh")

	write("mail")
	d.must("reload")
	want("ssh", "mail")
	write("-")
	d.setRules("*recent\nnonsense\nCOMMIT\n")
	if got := d.recentfs("reload"); got.code != 1 || !strings.Contains(got.stderr, d.rules+":2: ") {
		t.Errorf("a reload of bad rules: exit %d, %q", got.code, got.stderr)
	}
	want("ssh", "mail")
	// A queue that somebody else holds in one namespace keeps all as it is.
	other := startOther(t, "red", 7)
	d.setRules(strings.ReplaceAll(sshSeen, "QUEUE0", "QUEUE7"))
	if got := d.recentfs("reload"); got.code != 1 || !strings.Contains(got.stderr, "network namespace red: queue 7: taken by ") {
		t.Errorf("a reload for a queue that is taken: exit %d, %q", got.code, got.stderr)
	}
	want("ssh", "mail")
	other()
	d.setRules(sshSeen)
	d.must("reload")
	want("ssh", "-")
	if text := home.sh(t, "cat "+d.folder("red")+"/ssh"); !strings.HasPrefix(text, "src=192.0.2.1 ") {
		t.Errorf("red's table after reloads: %q", text)
	}
}

// startOther starts another recentfs in a namespace, on a queue of its own, and
// returns what stops it.
func startOther(t *testing.T, name string, queue int) (stop func()) {
	t.Helper()
	ns := newNetns(t)
	d := newDaemon(t, ns, strings.ReplaceAll(sshSeen, "QUEUE0", fmt.Sprintf("QUEUE%d", queue)))
	d.start("--netns", name)
	return d.stop
}

// TestNetnsBad tries what cannot be served.
func TestNetnsBad(t *testing.T) {
	home := newNetns(t)
	newNamed(t, "red")
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
			d := newDaemon(t, home, sshSeen)
			got := home.finish(t, d.command(c.args...))
			if got.code != c.code || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, c.want) {
				t.Errorf("exit %d, %q; want exit %d, one line with %q", got.code, got.stderr, c.code, c.want)
			}
			if left, _ := os.ReadDir(d.dir); len(left) != 1 {
				t.Errorf("it left %v behind", left)
			}
		})
	}
	t.Run("rules for a namespace that is not selected", func(t *testing.T) {
		d := newDaemon(t, home, sshSeen)
		got := home.finish(t, d.command("--netns", "red", "--netns-rules", "blue="+d.rules))
		if got.code != 1 || !strings.Contains(got.stderr, "--netns-rules blue: no --netns selects a namespace of that name") {
			t.Errorf("exit %d, %q", got.code, got.stderr)
		}
	})
}
