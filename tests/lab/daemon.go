package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Daemon is `recentfs run` in a namespace, with a directory of its own.
type Daemon struct {
	T       testing.TB
	NS      *Netns
	Dir     string
	Rules   string // the rules' file
	Mount   string // the mount point
	Control string // the control socket

	// Prepare changes the command of the program before Start starts it.
	Prepare func(*exec.Cmd)

	Output Output // what the program says
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

// Output collects what a process prints while it runs.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *Output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Reset()
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// NewDaemon prepares a daemon with its rules and does not start it.
func NewDaemon(t testing.TB, ns *Netns, rules string) *Daemon {
	t.Helper()
	dir := TempDir(t)
	d := &Daemon{
		T: t, NS: ns, Dir: dir,
		Rules:   filepath.Join(dir, "rules"),
		Mount:   filepath.Join(dir, "xt_recent"),
		Control: filepath.Join(dir, "control.sock"),
	}
	t.Cleanup(func() {
		// A test that failed may leave mounts, and TempDir must not delete what
		// they show.
		for _, m := range d.Mounts() {
			if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
				t.Errorf("umount %s: %v", m, err)
			}
		}
	})
	d.SetRules(rules)
	return d
}

// StartDaemon starts a daemon and waits until it is ready. At the end of the
// test it stops the daemon, which must leave nothing behind.
func StartDaemon(t testing.TB, ns *Netns, rules string, args ...string) *Daemon {
	t.Helper()
	d := NewDaemon(t, ns, rules)
	d.Start(args...)
	t.Cleanup(d.Stop)
	return d
}

// SetRules writes the rules' file.
func (d *Daemon) SetRules(text string) {
	d.T.Helper()
	if err := os.WriteFile(d.Rules, []byte(text), 0o644); err != nil {
		d.T.Fatal(err)
	}
}

// Command is `recentfs run` with the daemon's files.
func (d *Daemon) Command(args ...string) *exec.Cmd {
	d.T.Helper()
	args = append([]string{"run", "--rules", d.Rules, "--mountpoint", d.Mount, "--control", d.Control}, args...)
	cmd := exec.Command(Program(d.T), args...)
	// If the tests die, the daemon still unmounts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

var readyWord = regexp.MustCompile(`\bready\b`)

// Start starts the program and waits for the word "ready".
func (d *Daemon) Start(args ...string) {
	d.T.Helper()
	d.cmd = d.Command(args...)
	d.Output.reset() // of an earlier start
	d.cmd.Stdout, d.cmd.Stderr = &d.Output, &d.Output
	if d.Prepare != nil {
		d.Prepare(d.cmd)
	}
	if err := d.NS.Start(d.cmd); err != nil {
		d.T.Fatal(err)
	}
	d.exited = make(chan struct{})
	go func() {
		d.cmd.Wait()
		close(d.exited)
	}()
	d.T.Cleanup(d.Kill)
	Eventually(d.T, "the daemon gets ready", func() error {
		if readyWord.MatchString(d.Output.String()) {
			return nil
		}
		select {
		case <-d.exited:
			d.T.Fatalf("the daemon ended (%v) before it was ready:\n%s", d.cmd.ProcessState, &d.Output)
		default:
		}
		return fmt.Errorf("it says:\n%s", &d.Output)
	})
}

// Kill kills the program and waits for its end.
func (d *Daemon) Kill() {
	d.cmd.Process.Kill()
	<-d.exited
}

// Ended waits until the daemon has ended by itself, and returns its exit code.
func (d *Daemon) Ended() int {
	d.T.Helper()
	select {
	case <-d.exited:
	case <-time.After(Patience):
		d.T.Fatalf("the daemon goes on:\n%s", &d.Output)
	}
	return d.cmd.ProcessState.ExitCode()
}

// Process is the program's process id.
func (d *Daemon) Process() int { return d.cmd.Process.Pid }

// PID is the program's process id, as a text.
func (d *Daemon) PID() string { return fmt.Sprint(d.Process()) }

// Signal sends the program a signal.
func (d *Daemon) Signal(s os.Signal) {
	d.T.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.T.Fatalf("%v: %v\n%s", s, err, &d.Output)
	}
}

// Stop ends the daemon as a service manager does. Nothing may stay behind.
func (d *Daemon) Stop() {
	d.T.Helper()
	d.StopBy(syscall.SIGTERM)
}

// StopBy is Stop by another signal.
func (d *Daemon) StopBy(s os.Signal) {
	d.T.Helper()
	d.Signal(s)
	Eventually(d.T, "the daemon ends", func() error {
		select {
		case <-d.exited:
			return nil
		default:
			return fmt.Errorf("still there after %v; it says:\n%s", s, &d.Output)
		}
	})
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.T.Errorf("%v after %v, want exit 0; it said:\n%s", d.cmd.ProcessState, s, &d.Output)
	}
	if strings.Contains(d.Output.String(), "DATA RACE") {
		d.T.Errorf("the race detector found:\n%s", &d.Output)
	}
	if m := d.Mounts(); len(m) > 0 {
		d.T.Errorf("mounts stayed behind: %q", m)
	}
	if q := d.NS.Queues(d.T); len(q) > 0 {
		d.T.Errorf("queues stayed bound: %v", q)
	}
	if _, err := os.Lstat(d.Control); !errors.Is(err, os.ErrNotExist) {
		d.T.Errorf("the control socket stayed behind: %v", err)
	}
}

// Mounts are the mount points in the daemon's directory.
func (d *Daemon) Mounts() (dirs []string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		d.T.Error(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], d.Dir+"/") {
			dirs = append(dirs, fields[4])
		}
	}
	return dirs
}

// Recentfs runs one of the program's commands in the daemon's namespace.
func (d *Daemon) Recentfs(command string, args ...string) Outcome {
	d.T.Helper()
	switch command {
	case "reload", "rules", "import":
		args = append([]string{"--control", d.Control}, args...)
	case "show", "add", "del", "flush", "export":
		args = append([]string{"--mountpoint", d.Mount}, args...)
	}
	return d.NS.Run(d.T, Program(d.T), append([]string{command}, args...)...)
}

// Must is Recentfs for a command that must succeed. It returns the output.
func (d *Daemon) Must(command string, args ...string) string {
	d.T.Helper()
	got := d.Recentfs(command, args...)
	if got.Code != 0 {
		d.T.Fatalf("recentfs %s %q: exit %d: %s", command, args, got.Code, got.Stderr)
	}
	return got.Stdout
}

// File is the path of a table's file.
func (d *Daemon) File(table string) string { return filepath.Join(d.Mount, table) }

// Sh runs a shell script in the mount point.
func (d *Daemon) Sh(script string) string {
	d.T.Helper()
	return d.NS.Sh(d.T, "cd "+d.Mount+"; "+script)
}

// Ask has the daemon answer on its control socket: "rules" or "reload".
func (d *Daemon) Ask(request string) string {
	d.T.Helper()
	dial := func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", d.Control) }
	client := http.Client{Timeout: Patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	method := http.MethodGet
	if request == "reload" {
		method = http.MethodPost
	}
	r, err := http.NewRequest(method, "http://recentfs/"+request, nil)
	if err != nil {
		d.T.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		d.T.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		d.T.Fatalf("%s: %s: %q, %v", request, answer.Status, text, err)
	}
	return string(text)
}

// Exec is `recentfs exec` with the daemon's tables.
func (d *Daemon) Exec(args ...string) *exec.Cmd {
	return exec.Command(Program(d.T), append([]string{"exec", "--mountpoint", d.Mount, "--"}, args...)...)
}

// As runs a script in the mount point as another user.
func (d *Daemon) As(uid, gid uint32, script string) Outcome {
	d.T.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = d.Mount
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	return d.NS.Finish(d.T, cmd)
}

// Descriptors counts the daemon's open descriptors.
func (d *Daemon) Descriptors() int {
	d.T.Helper()
	return descriptors(d.T, d.PID())
}
