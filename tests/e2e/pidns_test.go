package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"recentfs/tests/lab"
)

// TestPIDNamespace runs the daemon in a PID namespace of its own. The kernel tells it
// a process's number in there, and 0 for a process outside (fuse_req_init_context).
// No process may be led to the tables of another network namespace.
func TestPIDNamespace(t *testing.T) {
	for _, c := range []struct {
		name, proc, warning string
		inside              string // where self leads the processes of red inside
	}{
		{"with its own /proc", "mount --make-private /proc; mount -t proc proc /proc", "processes outside the PID namespace", "ns/red"},
		{"with the /proc of another", ":", "/proc is of another PID namespace", "unmanaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			home, red, blue := lab.NewNetns(t), lab.NewNamed(t, "red"), lab.NewNamed(t, "blue")
			d := lab.NewDaemon(t, home, sshSeen)
			d.Prepare = func(cmd *exec.Cmd) {
				cmd.Args = append([]string{"sh", "-euc", c.proc + `; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
				cmd.Path = "/bin/sh"
				cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
			}
			d.Start("--netns", "all")
			t.Cleanup(d.Stop)
			d.AwaitFolders("blue", "host", "red")
			lab.Eventually(t, "the daemon warns", func() error { // which it does after it is ready
				if !strings.Contains(d.Output.String(), c.warning) {
					return fmt.Errorf("no warning of %q:\n%s", c.warning, &d.Output)
				}
				return nil
			})

			link := "readlink " + d.Mount + "/self"
			if got := red.Sh(t, link); got != "unmanaged\n" {
				t.Errorf("self leads a process outside to %q", got)
			}
			if got := red.Sh(t, "nsenter -t "+d.PID()+" -p "+link); got != c.inside+"\n" {
				t.Errorf("self leads a process inside to %q, want %s", got, c.inside)
			}
			// A process of red whose number is that of a process of blue outside.
			other := exec.Command("sleep", "1000")
			if err := blue.Start(other); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { other.Process.Kill(); other.Wait() })
			got := red.Run(t, "nsenter", "-t", d.PID(), "-p", "sh", "-euc",
				`echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; `+link+` & wait $!; echo $!`, "sh", fmt.Sprint(other.Process.Pid))
			if want := c.inside + "\n" + fmt.Sprint(other.Process.Pid) + "\n"; got.Stdout != want {
				t.Errorf("self leads a process inside, by the number of one outside, to %q %s; want %q", got.Stdout, got.Stderr, want)
			}

			// By name all works from everywhere; exec says what is amiss.
			d.Must("add", "--netns", "red", "ssh", "192.0.2.1")
			if text := d.Must("show", "--netns", "red"); !strings.Contains(text, "192.0.2.1") {
				t.Errorf("show --netns red: %q", text)
			}
			exec := red.Finish(t, d.Exec("cat", "/proc/net/xt_recent/ssh"))
			if exec.Code == 0 || !strings.Contains(exec.Stderr, "processes that it cannot see") {
				t.Errorf("exec outside: %+v", exec)
			}
		})
	}
}
