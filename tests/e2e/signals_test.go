package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestSignalsEndCommands stops the daemon while a command waits for its answer. A
// signal ends the command as it ends cat.
func TestSignalsEndCommands(t *testing.T) {
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"))
	// With the parameters of a daemon that answers, exec gets to the tables.
	other := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"))
	if err := unix.Mount(d.Mount, other.Mount, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(other.Mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d.Signal(syscall.SIGSTOP)
	t.Cleanup(func() { d.Signal(syscall.SIGCONT) }) // before the daemon is stopped in good order
	program := lab.Program(t)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"cat", []string{"cat", d.File("T")}},
		{"show all", []string{program, "show", "-m", d.Mount}},
		{"show", []string{program, "show", "-m", d.Mount, "T"}},
		{"add", []string{program, "add", "-m", d.Mount, "T", "192.0.2.1"}},
		{"del", []string{program, "del", "-m", d.Mount, "T", "192.0.2.1"}},
		{"flush", []string{program, "flush", "-m", d.Mount, "T"}},
		{"exec", []string{program, "exec", "-m", d.Mount, "--", "true"}},
		{"exec at the tables", []string{program, "exec", "-m", other.Mount, "--", "true"}},
	} {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			t.Run(c.name+"/"+signal.String(), func(t *testing.T) {
				cmd := exec.Command(c.args[0], c.args[1:]...)
				var said bytes.Buffer
				cmd.Stderr = &said
				if err := other.NS.Start(cmd); err != nil {
					t.Fatal(err)
				}
				ended := make(chan struct{})
				go func() {
					cmd.Wait()
					close(ended)
				}()
				defer func() {
					cmd.Process.Kill()
					<-ended
					if t.Failed() {
						t.Logf("%v said %q", cmd.ProcessState, &said)
					}
				}()
				lab.Eventually(t, "it waits for the daemon", func() error { return waitsForDaemon(cmd.Process.Pid) })
				if err := cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				lab.Eventually(t, "it ends", func() error {
					select {
					case <-ended:
						return nil
					default:
						return errors.New("it is still there")
					}
				})
				if got := cmd.ProcessState.Sys().(syscall.WaitStatus); got.Signal() != signal {
					t.Errorf("it ended by %v, want %v", cmd.ProcessState, signal)
				}
			})
		}
	}
}

// TestNohup has a command go on after the signal that it was told to ignore.
func TestNohup(t *testing.T) {
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"))
	d.Signal(syscall.SIGSTOP)
	resume := sync.OnceFunc(func() { d.Signal(syscall.SIGCONT) })
	t.Cleanup(resume)
	cmd := exec.Command("nohup", lab.Program(t), "show", "-m", d.Mount, "T")
	if err := d.NS.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lab.Eventually(t, "it waits for the daemon", func() error { return waitsForDaemon(cmd.Process.Pid) })
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	resume()
	if err := cmd.Wait(); err != nil {
		t.Errorf("a hangup under nohup: %v", err)
	}
}

// TestExecParentDeath has a program under exec die with its parent, where that
// was asked for exec.
func TestExecParentDeath(t *testing.T) {
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"))
	for range 5 { // threads differ
		cmd := d.Exec("setpriv", "--dump")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGUSR1}
		if got := d.NS.Finish(t, cmd); got.Code != 0 || !strings.Contains(got.Stdout, "Parent death signal: USR1\n") {
			t.Fatalf("exit %d, %s\n%s", got.Code, got.Stderr, got.Stdout)
		}
	}
}

// waitsForDaemon is an error unless a thread of a process is in a FUSE request.
func waitsForDaemon(pid int) error {
	stacks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stack", pid))
	if err != nil {
		return err
	}
	for _, name := range stacks {
		if stack, err := os.ReadFile(name); err == nil && bytes.Contains(stack, []byte("request_wait_answer")) {
			return nil
		}
	}
	return fmt.Errorf("none of its %d threads waits for an answer", len(stacks))
}
