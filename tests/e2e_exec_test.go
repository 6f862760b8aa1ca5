package tests

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// exec is `recentfs exec` with the daemon's tables.
func (d *daemon) exec(args ...string) *exec.Cmd {
	return exec.Command(binary(d.t), append([]string{"exec", "--mountpoint", d.mount, "--"}, args...)...)
}

// TestExec runs programs that have /proc/net/xt_recent hard-coded.
func TestExec(t *testing.T) {
	ns := newNetns(t)
	d := startDaemon(t, ns, sshSeen)
	for _, c := range []struct {
		name   string
		script string
		code   int
		want   string
	}{
		{"write and read", `echo +192.0.2.1 > /proc/net/xt_recent/ssh; cut -d' ' -f1 /proc/net/xt_recent/ssh`, 0, "src=192.0.2.1\n"},
		{"the old name", `cut -d' ' -f1 /proc/net/ipt_recent/ssh`, 0, "src=192.0.2.1\n"},
		{"listing", `ls /proc/net/xt_recent/`, 0, "ssh\n"},
		{"test -e of an empty table", `echo / > /proc/net/xt_recent/ssh; test -e /proc/net/xt_recent/ssh && echo there`, 0, "there\n"},
		{"a child of a child", `sh -c 'sh -c "echo +192.0.2.2 > /proc/net/xt_recent/ssh"; wc -l < /proc/net/xt_recent/ssh'`, 0, "1\n"},
		{"another user reads", `setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'wc -l < /proc/net/xt_recent/ssh'`, 0, "1\n"},
		{"another user may not write", `setpriv --reuid 65534 --regid 65534 --clear-groups sh -c 'echo / > /proc/net/xt_recent/ssh'`, 2, ""},
		{"all else for another user", `setpriv --reuid 65534 --regid 65534 --clear-groups cat /proc/net/dev | grep -c lo:`, 0, "1\n"},
		{"a namespace below", `unshare --net sh -c 'cat /proc/net/dev | grep -c :; ls /proc/net/xt_recent/'`, 2, "1\n"},
		{"exit status", `exit 42`, 42, ""},
		{"parameters", `cat /sys/module/xt_recent/parameters/ip_pkt_list_tot`, 0, "20\n"},
		{"ss", `ss -tln | head -1 | grep -c State`, 0, "1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ns.finish(t, d.exec("sh", "-c", c.script))
			if got.code != c.code || got.stdout != c.want {
				t.Errorf("exit %d, %q, want %d, %q; %s", got.code, got.stdout, c.code, c.want, got.stderr)
			}
		})
	}
	t.Run("signals", func(t *testing.T) {
		// It is the command that gets the signal: recentfs has become it.
		cmd := d.exec("sh", "-c", "kill -USR1 $$; exit 0")
		got := ns.finish(t, cmd)
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGUSR1 {
			t.Errorf("%v: %s", cmd.ProcessState, got.stderr)
		}
	})
	t.Run("all of /proc/net", func(t *testing.T) { sameProcNet(t, ns, d) })
	t.Run("nobody else sees it", func(t *testing.T) {
		if link, err := os.Readlink("/proc/net"); link != "self/net" {
			t.Errorf("/proc/net -> %s, %v", link, err)
		}
	})
	for _, c := range []struct {
		name string
		cmd  *exec.Cmd
		code int
		want string
	}{
		{"no command", d.exec(), 2, "requires at least 1 arg"},
		{"no such command", d.exec("no-such-command"), 127, "no-such-command"},
		{"no such path", d.exec("./no-such-command"), 127, "no-such-command"},
		{"not a program", d.exec("/proc/version"), 126, `"/proc/version": permission denied`},
		{"a directory", d.exec("/proc"), 126, `"/proc": is a directory`},
		{"a namespace without tables", exec.Command("unshare", "--net", binary(t), "exec", "--mountpoint", d.mount, "--", "true"), 0, "/proc/net/xt_recent is not there for this network namespace"},
		{"no such namespace", exec.Command(binary(t), "exec", "--mountpoint", d.mount, "--netns", "nosuch", "--", "true"), 1, "network namespace nosuch: /run/netns/nosuch is not there"},
		{"no daemon", exec.Command(binary(t), "exec", "--mountpoint", d.dir, "--", "true"), 1, "no recentfs serves it"},
		{"not root", exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", binary(t), "exec", "--mountpoint", d.mount, "--", "true"), 1, "run as root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ns.finish(t, c.cmd)
			if got.code != c.code || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, c.want) {
				t.Errorf("exit %d, %q; want exit %d, one line with %q", got.code, got.stderr, c.code, c.want)
			}
		})
	}
}

// sameProcNet compares /proc/net under exec with itself: the same names, but
// for xt_recent's, and what each of them leads to.
func sameProcNet(t *testing.T, ns *netns, d *daemon) {
	// %D:%i is the file; those of procfs do not change while they are in use.
	const list = `cd $0; for name in $(ls | grep -vx 'ipt_recent\|xt_recent'); do echo "$name $(stat -Lc '%F %a %u %g %s' $name)"; done; cat dev | wc -l; ls stat netfilter; head -1 route udp6`
	own := ns.sh(t, strings.ReplaceAll(list, "$0", "/proc/self/net"))
	got := ns.finish(t, d.exec("sh", "-euc", list, "/proc/net"))
	if got.code != 0 || got.stdout != own {
		t.Errorf("exit %d\n%s\nwant\n%s\n%s", got.code, got.stdout, own, got.stderr)
	}
	if n := strings.Count(own, "\n"); n < 30 {
		t.Errorf("only %d lines were compared", n)
	}
}

// TestProcNet takes /proc/net over for everybody, dies, comes again, and gives
// it back.
func TestProcNet(t *testing.T) {
	ns := newNetns(t)
	d := newDaemon(t, ns, sshSeen)
	inPlace := func(script, want string) {
		t.Helper()
		if got := ns.run(t, "sh", "-c", script); got.stdout != want {
			t.Errorf("%s: %q, want %q; %s", script, got.stdout, want, got.stderr)
		}
	}
	covers := func(want int) {
		t.Helper()
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), " - tmpfs recentfs "); n != want {
			t.Errorf("%d covers are mounted, want %d:\n%s", n, want, text)
		}
	}
	all := 2 // /proc/net, and the folder
	if _, err := os.Stat("/sys/module/xt_recent/parameters"); err == nil {
		all++
	}
	// What a container without root does (mnt_already_visible), and then us.
	const container = "unshare -Urmnpf --mount-proc sh -c 'mount -t sysfs none /mnt && echo mounted'"
	inPlace(container, "mounted\n")
	const rest = "grep -c lo: /proc/net/dev; stat -Lc %F /proc/net/stat"
	before := ns.sh(t, "ls -d /proc/net/*/ | wc -l")

	d.start("--proc-net")
	covers(all)
	inPlace("echo +192.0.2.1 > /proc/net/xt_recent/ssh; cut -d' ' -f1 /proc/net/xt_recent/ssh", "src=192.0.2.1\n")
	inPlace("cat /sys/module/xt_recent/parameters/ip_pkt_list_tot", "20\n")
	inPlace(container, "mounted\n")
	inPlace(rest, "1\ndirectory\n")
	other := newNetns(t)
	if got := other.run(t, "cat", "/proc/net/xt_recent/ssh"); got.code == 0 {
		t.Errorf("a namespace that is not managed sees %q", got.stdout)
	}
	// exec inside of it, and a second daemon.
	if got := ns.finish(t, d.exec("cat", "/proc/net/xt_recent/ssh")); !strings.HasPrefix(got.stdout, "src=192.0.2.1 ") {
		t.Errorf("exec: %+v", got)
	}
	second := newDaemon(t, other, sshSeen)
	if got := other.finish(t, second.command("--proc-net")); got.code != 1 || !strings.Contains(got.stderr, "another recentfs, which serves "+d.mount+".module, has taken /proc/net") {
		t.Errorf("a second --proc-net: exit %d, %q", got.code, got.stderr)
	}
	covers(all)

	d.kill()
	inPlace(rest, "1\ndirectory\n")
	if got := ns.run(t, "cat", "/proc/net/xt_recent/ssh"); got.code == 0 {
		t.Errorf("without a daemon: %+v", got)
	}

	d.start("--proc-net")
	covers(all)
	inPlace("echo +192.0.2.2 > /proc/net/xt_recent/ssh; cut -d' ' -f1 /proc/net/xt_recent/ssh", "src=192.0.2.2\n")
	d.stop()
	covers(0)
	inPlace("readlink /proc/net", "self/net\n")
	inPlace("ls -d /proc/net/*/ | wc -l", before)

	// One that was killed in other colours, and is never started again.
	third := newDaemon(t, other, sshSeen)
	third.start("--proc-net")
	third.kill()
	covers(all)
	d.start("--proc-net")
	inPlace("ls /proc/net/xt_recent/", "ssh\n")
	covers(all)
	d.kill()
	// And one that does not want it, but would be led to.
	d.start()
	covers(0)
	d.stop()
}

// TestExecPrivate stops a daemon while a program under exec has a copy of its
// mounts that does not go with them: so it is where / is private.
func TestExecPrivate(t *testing.T) {
	ns := newNetns(t)
	d := newDaemon(t, ns, sshSeen)
	d.start()
	program := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-euc", "echo ready; read line; ls "+d.mount)
	stdin, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out output
	program.Stdout, program.Stderr = &out, &out
	if err := ns.start(program); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program is there", func() error {
		if !strings.Contains(out.String(), "ready") {
			return errors.New(out.String())
		}
		return nil
	})
	d.stop()
	stdin.Close()
	if err := program.Wait(); err == nil || !strings.Contains(d.output.String(), "has copies in other mount namespaces") {
		t.Errorf("the copy still works: %s; the daemon said %s", &out, &d.output)
	}
}

// TestExecAcrossRestart keeps a program running under exec while the daemon is
// restarted.
func TestExecAcrossRestart(t *testing.T) {
	ns := newNetns(t)
	d := newDaemon(t, ns, sshSeen)
	d.start()
	ns.sh(t, "cd "+d.dir+"; mkfifo written again")
	cmd := d.exec("sh", "-euc", "echo +192.0.2.1 > /proc/net/xt_recent/ssh; : < written; : < again; echo +192.0.2.2 > /proc/net/xt_recent/ssh")
	cmd.Dir = d.dir
	done := make(chan outcome, 1)
	go func() { done <- ns.finish(t, cmd) }()
	open := func(gate string) {
		t.Helper()
		eventually(t, "the program waits", func() error {
			select {
			case got := <-done:
				t.Fatalf("it ended: %+v", got)
			default:
			}
			f, err := os.OpenFile(filepath.Join(d.dir, gate), os.O_WRONLY|syscall.O_NONBLOCK, 0) // ENXIO without a reader
			if err == nil {
				f.Close()
			}
			return err
		})
	}
	open("written")
	d.stop()
	d.start()
	t.Cleanup(d.stop)
	open("again")
	if got := <-done; got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	if e := d.only("ssh"); e.src != "192.0.2.2" {
		t.Errorf("the table has %v", e)
	}
}
