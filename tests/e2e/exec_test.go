package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"recentfs/tests/lab"
)

// TestExec runs programs that have /proc/net/xt_recent hard-coded.
func TestExec(t *testing.T) {
	ns := lab.NewNetns(t)
	d := lab.StartDaemon(t, ns, sshSeen)
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
			got := ns.Finish(t, d.Exec("sh", "-c", c.script))
			if got.Code != c.code || got.Stdout != c.want {
				t.Errorf("exit %d, %q, want %d, %q; %s", got.Code, got.Stdout, c.code, c.want, got.Stderr)
			}
		})
	}
	t.Run("signals", func(t *testing.T) {
		// recentfs has become the command (execve), which so gets the signal.
		cmd := d.Exec("sh", "-c", "kill -USR1 $$; exit 0")
		got := ns.Finish(t, cmd)
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGUSR1 {
			t.Errorf("%v: %s", cmd.ProcessState, got.Stderr)
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
		{"no command", d.Exec(), 2, "COMMAND is missing"},
		{"no such command", d.Exec("no-such-command"), 127, "no-such-command"},
		{"no such path", d.Exec("./no-such-command"), 127, "no-such-command"},
		{"not a program", d.Exec("/proc/version"), 126, `"/proc/version": permission denied`},
		{"a directory", d.Exec("/proc"), 126, `"/proc": is a directory`},
		{"a namespace without tables", exec.Command("unshare", "--net", lab.Program(t), "exec", "--mountpoint", d.Mount, "--", "true"), 0, "/proc/net/xt_recent is not there for this network namespace"},
		{"no such namespace", exec.Command(lab.Program(t), "exec", "--mountpoint", d.Mount, "--netns", "nosuch", "--", "true"), 1, "network namespace nosuch: /run/netns/nosuch is not there"},
		{"no daemon", exec.Command(lab.Program(t), "exec", "--mountpoint", d.Dir, "--", "true"), 1, "no recentfs serves it"},
		{"not root", exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", lab.Program(t), "exec", "--mountpoint", d.Mount, "--", "true"), 1, "run as root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ns.Finish(t, c.cmd)
			if got.Code != c.code || strings.Count(got.Stderr, "\n") != 1 || !strings.Contains(got.Stderr, c.want) {
				t.Errorf("exit %d, %q; want exit %d, one line with %q", got.Code, got.Stderr, c.code, c.want)
			}
		})
	}
}

// sameProcNet compares /proc/net under exec with the namespace's own: the same
// names, except xt_recent's, and the same files behind them.
func sameProcNet(t *testing.T, ns *lab.Netns, d *lab.Daemon) {
	const list = `cd $0; for name in $(ls | grep -vx 'ipt_recent\|xt_recent'); do echo "$name $(stat -Lc '%F %a %u %g %s' $name)"; done; cat dev | wc -l; ls stat netfilter; head -1 route udp6`
	own := ns.Sh(t, strings.ReplaceAll(list, "$0", "/proc/self/net"))
	got := ns.Finish(t, d.Exec("sh", "-euc", list, "/proc/net"))
	if got.Code != 0 || got.Stdout != own {
		t.Errorf("exit %d\n%s\nwant\n%s\n%s", got.Code, got.Stdout, own, got.Stderr)
	}
	if n := strings.Count(own, "\n"); n < 30 {
		t.Errorf("only %d lines were compared", n)
	}
}

// TestProcNet has a daemon cover /proc/net for everybody, die, start again, and
// uncover it.
func TestProcNet(t *testing.T) {
	ns := lab.NewNetns(t)
	d := lab.NewDaemon(t, ns, sshSeen)
	inPlace := func(script, want string) {
		t.Helper()
		if got := ns.Run(t, "sh", "-c", script); got.Stdout != want {
			t.Errorf("%s: %q, want %q; %s", script, got.Stdout, want, got.Stderr)
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
	// A container without root may mount a sysfs of its own only where nothing is
	// hidden (mnt_already_visible).
	const container = "unshare -Urmnpf --mount-proc sh -c 'mount -t sysfs none /mnt && echo mounted'"
	inPlace(container, "mounted\n")
	const rest = "grep -c lo: /proc/net/dev; stat -Lc %F /proc/net/stat"
	before := ns.Sh(t, "ls -d /proc/net/*/ | wc -l")

	d.Start("--proc-net")
	covers(all)
	inPlace("echo +192.0.2.1 > /proc/net/xt_recent/ssh; cut -d' ' -f1 /proc/net/xt_recent/ssh", "src=192.0.2.1\n")
	inPlace("cat /sys/module/xt_recent/parameters/ip_pkt_list_tot", "20\n")
	inPlace(container, "mounted\n")
	inPlace(rest, "1\ndirectory\n")
	other := lab.NewNetns(t)
	if got := other.Run(t, "cat", "/proc/net/xt_recent/ssh"); got.Code == 0 {
		t.Errorf("a namespace that is not managed sees %q", got.Stdout)
	}
	// exec over the cover, and a second daemon.
	if got := ns.Finish(t, d.Exec("cat", "/proc/net/xt_recent/ssh")); !strings.HasPrefix(got.Stdout, "src=192.0.2.1 ") {
		t.Errorf("exec: %+v", got)
	}
	second := lab.NewDaemon(t, other, sshSeen)
	if got := other.Finish(t, second.Command("--proc-net")); got.Code != 1 || !strings.Contains(got.Stderr, "another recentfs, which serves "+d.Mount+".module, has taken /proc/net") {
		t.Errorf("a second --proc-net: exit %d, %q", got.Code, got.Stderr)
	}
	covers(all)

	d.Kill()
	inPlace(rest, "1\ndirectory\n")
	if got := ns.Run(t, "cat", "/proc/net/xt_recent/ssh"); got.Code == 0 {
		t.Errorf("without a daemon: %+v", got)
	}

	d.Start("--proc-net")
	covers(all)
	inPlace("echo +192.0.2.2 > /proc/net/xt_recent/ssh; cut -d' ' -f1 /proc/net/xt_recent/ssh", "src=192.0.2.2\n")
	d.Stop()
	covers(0)
	inPlace("readlink /proc/net", "self/net\n")
	inPlace("ls -d /proc/net/*/ | wc -l", before)

	// The cover of a killed daemon of another namespace, which never starts again.
	third := lab.NewDaemon(t, other, sshSeen)
	third.Start("--proc-net")
	third.Kill()
	covers(all)
	d.Start("--proc-net")
	inPlace("ls /proc/net/xt_recent/", "ssh\n")
	covers(all)
	d.Kill()
	// A daemon without --proc-net removes the cover of a killed one, too: it leads
	// to the mount that this daemon replaces.
	d.Start()
	covers(0)
	d.Stop()
}

// TestExecPrivate stops a daemon while a program has a private copy of its
// mounts, as on a machine where / is private: no unmount reaches the copy.
func TestExecPrivate(t *testing.T) {
	ns := lab.NewNetns(t)
	d := lab.NewDaemon(t, ns, sshSeen)
	// A directory that the daemon has made goes with it, and all copies on it.
	if err := os.Mkdir(d.Mount, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Start()
	program := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-euc", "echo ready; read line; ls "+d.Mount)
	stdin, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out lab.Output
	program.Stdout, program.Stderr = &out, &out
	if err := ns.Start(program); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the program starts", func() error {
		if !strings.Contains(out.String(), "ready") {
			return errors.New(out.String())
		}
		return nil
	})
	d.Stop()
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err == nil || !strings.Contains(out.String(), "not connected") || !strings.Contains(d.Output.String(), "has copies in other mount namespaces") {
		t.Errorf("the copy still works: %s; the daemon said %s", &out, &d.Output)
	}
}

// TestExecAcrossRestart restarts the daemon while a program runs under exec.
func TestExecAcrossRestart(t *testing.T) {
	ns := lab.NewNetns(t)
	d := lab.NewDaemon(t, ns, sshSeen)
	d.Start()
	ns.Sh(t, "cd "+d.Dir+"; mkfifo written again")
	cmd := d.Exec("sh", "-euc", "echo +192.0.2.1 > /proc/net/xt_recent/ssh; : < written; : < again; echo +192.0.2.2 > /proc/net/xt_recent/ssh")
	cmd.Dir = d.Dir
	done := make(chan lab.Outcome, 1)
	go func() { done <- ns.Finish(t, cmd) }()
	open := func(gate string) {
		t.Helper()
		lab.Eventually(t, "the program waits", func() error {
			select {
			case got := <-done:
				t.Fatalf("it ended: %+v", got)
			default:
			}
			f, err := os.OpenFile(filepath.Join(d.Dir, gate), os.O_WRONLY|syscall.O_NONBLOCK, 0) // ENXIO without a reader
			if err == nil {
				f.Close()
			}
			return err
		})
	}
	open("written")
	d.Stop()
	d.Start()
	t.Cleanup(d.Stop)
	open("again")
	if got := <-done; got.Code != 0 {
		t.Fatalf("exit %d: %s", got.Code, got.Stderr)
	}
	if e := d.Only("ssh"); e.Src != "192.0.2.2" {
		t.Errorf("the table has %v", e)
	}
}
