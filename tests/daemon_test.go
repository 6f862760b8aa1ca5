package tests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// daemon is `recentfs run` in a namespace, with a directory of its own.
type daemon struct {
	t       testing.TB
	ns      *netns
	dir     string
	rules   string // the rules' file
	mount   string // the mount point
	control string // the control socket

	cmd    *exec.Cmd
	output output
	exited chan struct{} // closed when the process has ended
}

// output collects what a process prints while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Reset()
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// newDaemon prepares a daemon with its rules, and does not start it.
func newDaemon(t testing.TB, ns *netns, rules string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "recentfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{
		t: t, ns: ns, dir: dir,
		rules:   filepath.Join(dir, "rules"),
		mount:   filepath.Join(dir, "xt_recent"),
		control: filepath.Join(dir, "control.sock"),
	}
	t.Cleanup(func() {
		// Detached first, so that a test that failed with a mount in place does
		// not delete through it.
		for _, m := range d.mounts() {
			if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
				t.Errorf("umount %s: %v", m, err)
				return
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	// Other users must get to the mount point.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.setRules(rules)
	return d
}

// startDaemon starts a daemon, waits until it is ready, and stops it at the
// end of the test, which then finds nothing left behind.
func startDaemon(t testing.TB, ns *netns, rules string, args ...string) *daemon {
	t.Helper()
	d := newDaemon(t, ns, rules)
	d.start(args...)
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) setRules(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.rules, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// command is `recentfs run` with the daemon's files.
func (d *daemon) command(args ...string) *exec.Cmd {
	d.t.Helper()
	args = append([]string{"run", "--rules", d.rules, "--mountpoint", d.mount, "--control", d.control}, args...)
	cmd := exec.Command(binary(d.t), args...)
	// Should the tests die, it unmounts by itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

var readyWord = regexp.MustCompile(`\bready\b`)

// start starts the program and waits for the word "ready".
func (d *daemon) start(args ...string) {
	d.t.Helper()
	d.cmd = d.command(args...)
	d.output.reset() // of an earlier start
	d.cmd.Stdout, d.cmd.Stderr = &d.output, &d.output
	if err := d.ns.start(d.cmd); err != nil {
		d.t.Fatal(err)
	}
	d.exited = make(chan struct{})
	go func() {
		d.cmd.Wait()
		close(d.exited)
	}()
	d.t.Cleanup(d.kill)
	eventually(d.t, "the daemon gets ready", func() error {
		if readyWord.MatchString(d.output.String()) {
			return nil
		}
		select {
		case <-d.exited:
			d.t.Fatalf("the daemon ended (%v) before it was ready:\n%s", d.cmd.ProcessState, &d.output)
		default:
		}
		return fmt.Errorf("so far it says:\n%s", &d.output)
	})
}

// kill ends the program the hard way and waits for its end.
func (d *daemon) kill() {
	d.cmd.Process.Kill()
	<-d.exited
}

func (d *daemon) signal(s os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatalf("%v: %v\n%s", s, err, &d.output)
	}
}

// stop ends the daemon as a service manager does. Nothing may stay behind.
func (d *daemon) stop() {
	d.t.Helper()
	d.stopBy(syscall.SIGTERM)
}

func (d *daemon) stopBy(s os.Signal) {
	d.t.Helper()
	d.signal(s)
	eventually(d.t, "the daemon ends", func() error {
		select {
		case <-d.exited:
			return nil
		default:
			return fmt.Errorf("still there after %v; it says:\n%s", s, &d.output)
		}
	})
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("%v after %v, want exit 0; it said:\n%s", d.cmd.ProcessState, s, &d.output)
	}
	if strings.Contains(d.output.String(), "DATA RACE") {
		d.t.Errorf("the race detector found:\n%s", &d.output)
	}
	if m := d.mounts(); len(m) > 0 {
		d.t.Errorf("mounts stayed behind: %q", m)
	}
	if q := d.ns.queues(d.t); len(q) > 0 {
		d.t.Errorf("queues stayed bound: %v", q)
	}
	if _, err := os.Lstat(d.control); !errors.Is(err, os.ErrNotExist) {
		d.t.Errorf("the control socket stayed behind: %v", err)
	}
}

// mounts are what is mounted in the daemon's directory.
func (d *daemon) mounts() (dirs []string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		d.t.Error(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], d.dir+"/") {
			dirs = append(dirs, fields[4])
		}
	}
	return dirs
}

// recentfs runs one of the program's commands in the daemon's namespace.
func (d *daemon) recentfs(command string, args ...string) outcome {
	d.t.Helper()
	switch command {
	case "reload", "rules":
		args = append([]string{"--control", d.control}, args...)
	case "show", "add", "del", "flush":
		args = append([]string{"--mountpoint", d.mount}, args...)
	}
	return d.ns.run(d.t, binary(d.t), append([]string{command}, args...)...)
}

// must is recentfs where the command has to succeed; it returns its output.
func (d *daemon) must(command string, args ...string) string {
	d.t.Helper()
	got := d.recentfs(command, args...)
	if got.code != 0 {
		d.t.Fatalf("recentfs %s %q: exit %d: %s", command, args, got.code, got.stderr)
	}
	return got.stdout
}

// file is the path of a table's file.
func (d *daemon) file(table string) string { return filepath.Join(d.mount, table) }

// sh runs a shell script in the mount point.
func (d *daemon) sh(script string) string {
	d.t.Helper()
	return d.ns.sh(d.t, "cd "+d.mount+"; "+script)
}

// tables are the names in the mount, sorted.
func (d *daemon) tables() (names []string) {
	d.t.Helper()
	files, err := os.ReadDir(d.mount)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	slices.Sort(names)
	return names
}

// entry is one line of a table's file.
type entry struct {
	src      string
	ttl      int
	lastSeen jiffies.Jiffies
	oldest   int // oldest_pkt, the ring index
	stamps   []jiffies.Jiffies
}

var entryLine = regexp.MustCompile(`^src=(\S+) ttl: (\d+) last_seen: (\d+) oldest_pkt: (\d+) (\d+(?:, \d+)*)$`)

// read is what a table's file says. Lines that are not as recent_seq_show
// forms them fail the test.
func (d *daemon) read(table string) (entries []entry) {
	d.t.Helper()
	return d.readPath(d.file(table))
}

// readPath is read for a table's file wherever it is.
func (d *daemon) readPath(table string) (entries []entry) {
	d.t.Helper()
	text, err := os.ReadFile(table)
	if err != nil {
		d.t.Fatal(err)
	}
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			d.t.Fatalf("%s: %v in %q", table, err, text)
		}
		return n
	}
	for line := range strings.Lines(string(text)) {
		m := entryLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			d.t.Fatalf("%s: not a line of xt_recent: %q", table, line)
		}
		e := entry{src: m[1], ttl: int(number(m[2])), lastSeen: jiffies.Jiffies(number(m[3])), oldest: int(number(m[4]))}
		for s := range strings.SplitSeq(m[5], ", ") {
			e.stamps = append(e.stamps, jiffies.Jiffies(number(s)))
		}
		entries = append(entries, e)
	}
	return entries
}

// only is the entry of a table that has just one.
func (d *daemon) only(table string) entry {
	d.t.Helper()
	entries := d.read(table)
	if len(entries) != 1 {
		d.t.Fatalf("%s has %d entries, want 1: %v", table, len(entries), entries)
	}
	return entries[0]
}
