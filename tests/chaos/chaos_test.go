// Package chaos attacks the whole program as it runs: with signals, limits, full
// disks, namespaces and mounts that vanish, and clients that never read what they
// asked for. Each case runs under a light load, and looks at its end whether all goes
// on, whether every client has ended, and whether the daemon has grown.
package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) {
	lab.Plain = true // its memory is compared
	lab.Main(m)
}

// rules see each packet's source in "seen". "w" is for writers. Everybody may write
// "open", once it was opened by chmod.
const rules = `*recent
:QUEUE0 DROP [0:0]
-A QUEUE0 -m recent --name seen --set -j ACCEPT
-A QUEUE0 -m recent --name w --rcheck
-A QUEUE0 -m recent --name open --rcheck
COMMIT
`

// world is a daemon, and the load on it.
type world struct {
	*testing.T
	d      *lab.Daemon
	tables string // the directory with the tables
	load   *load
	before size
}

// newWorld prepares a daemon. Where it keeps tables, these are in memory.
func newWorld(t *testing.T) *world {
	t.Helper()
	d := lab.NewDaemon(t, lab.NewNetns(t), rules)
	memory, err := os.MkdirTemp("/dev/shm", "recentfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	d.Control = filepath.Join(memory, "control.sock")
	w := &world{T: t, d: d, tables: d.Mount}
	w.under()
	return w
}

// under has the daemon started by a program that becomes the daemon, such as prlimit.
func (w *world) under(program ...string) {
	w.d.Prepare = func(cmd *exec.Cmd) {
		// A daemon that collects early shows soon what it keeps.
		cmd.Env = append(os.Environ(), "GOGC=20")
		if len(program) == 0 {
			return
		}
		path, err := exec.LookPath(program[0])
		if err != nil {
			w.Fatal(err)
		}
		cmd.Path, cmd.Args = path, append(program, cmd.Args...)
	}
}

// startWorld starts a daemon, the load on it, and measures it.
func startWorld(t *testing.T, args ...string) *world {
	t.Helper()
	w := newWorld(t)
	w.begin(args...)
	return w
}

// begin starts what newWorld has prepared.
func (w *world) begin(args ...string) {
	w.Helper()
	w.d.Start(args...)
	if err := os.Chmod(w.file("open"), 0o666); err != nil {
		w.Fatal(err)
	}
	w.startLoad()
	w.goesOn()
	w.before = w.measure()
}

// state is the directory of what outlives the daemon.
func (w *world) state() string { return filepath.Join(w.d.Dir, "state") }

// goesOn looks whether packets, reads and writes go on, those of the load and others.
func (w *world) goesOn() {
	w.Helper()
	packets, reads, writes := w.load.packets.Load(), w.load.reads.Load(), w.load.writes.Load()
	lab.Eventually(w, "packets, reads and writes go on", func() error {
		p, r, wr := w.load.packets.Load()-packets, w.load.reads.Load()-reads, w.load.writes.Load()-writes
		if p < 3 || r < 3 || wr < 3 {
			return fmt.Errorf("%d packets, %d reads, %d writes since; the daemon said\n%s", p, r, wr, tail(w.d.Output.String()))
		}
		return nil
	})
	if got := w.run("cat w > /dev/null && echo +192.0.2.1 > w && grep -q '^src=192.0.2.1 ' w && ls > /dev/null"); got.Code != 0 {
		w.Fatalf("a cat and an echo: %+v\n%s", got, tail(w.d.Output.String()))
	}
}

// file is the path of a table's file.
func (w *world) file(table string) string { return filepath.Join(w.tables, table) }

// run runs a script in the directory with the tables.
func (w *world) run(script string) lab.Outcome {
	w.Helper()
	return w.d.NS.Run(w, "sh", "-c", "cd "+w.tables+"; "+script)
}

// end looks whether all goes on, whether the daemon has grown, and whether it leaves
// anything behind.
func (w *world) end() {
	w.Helper()
	w.goesOn()
	w.load.end()
	w.notGrown()
	w.Logf("%d packets, %d reads, %d writes; it was %v", w.load.packets.Load(), w.load.reads.Load(), w.load.writes.Load(), w.before)
	w.d.Stop()
}

// said waits until the daemon has said so.
func (w *world) said(text string) {
	w.Helper()
	w.saidAfter(0, text)
}

// saidAfter is said after so many bytes of its output.
func (w *world) saidAfter(from int, text string) {
	w.Helper()
	lab.Eventually(w, "it says "+text, func() error {
		if said := w.d.Output.String()[from:]; !strings.Contains(said, text) {
			return errors.New(tail(said))
		}
		return nil
	})
}

// tail is the end of a text.
func tail(text string) string {
	const most = 2000
	return text[max(0, len(text)-most):]
}
