package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// disk is a small file system.
type disk struct {
	*testing.T
	dir string
}

func newDisk(t *testing.T, kib int) *disk {
	t.Helper()
	d := &disk{t, lab.TempDir(t)}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%dk,mode=755", kib)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fill leaves no space on it.
func (d *disk) fill() {
	d.Helper()
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		d.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.Fatal(err)
	}
}

// free undoes fill.
func (d *disk) free() {
	d.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.Fatal(err)
	}
}

// remount makes it read-only, or no longer so.
func (d *disk) remount(flags uintptr) {
	d.Helper()
	if err := unix.Mount("", d.dir, "", unix.MS_REMOUNT|flags, "mode=755"); err != nil {
		d.Fatal(err)
	}
}

// TestFullLog has no space for the log. What is lost is counted when there is space again.
func TestFullLog(t *testing.T) {
	w := newWorld(t)
	d := newDisk(t, 256)
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	plain := w.d.Prepare
	w.d.Prepare = func(cmd *exec.Cmd) {
		plain(cmd)
		cmd.Stderr = log
	}
	w.begin()
	d.fill()
	w.d.SetRules("*recent\nwrong\nCOMMIT\n")
	const times = 30
	for range times {
		if got := w.d.Recentfs("reload"); got.Code != 1 {
			t.Fatalf("reload of wrong rules: %+v", got)
		}
		w.d.Signal(syscall.SIGHUP) // whose errors are logged
	}
	w.goesOn()
	d.free()
	lab.Eventually(t, "the log goes on", func() error {
		w.d.Signal(syscall.SIGHUP)
		text, err := os.ReadFile(log.Name())
		if err == nil && !bytes.Contains(text, []byte(" lines were not logged")) {
			err = errors.New(tail(string(text)))
		}
		return err
	})
	w.end()
}

// TestFullState has no space for what is saved, or may not write there. The tables go
// on, and are saved when that is over.
func TestFullState(t *testing.T) {
	for _, c := range []struct {
		name         string
		break_, mend func(*disk)
		said         string
	}{
		{"no space", (*disk).fill, (*disk).free, "no space left on device"},
		{"read-only", func(d *disk) { d.remount(unix.MS_RDONLY) }, func(d *disk) { d.remount(0) }, "read-only file system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			d := newDisk(t, 1024)
			w.begin("--state", d.dir, "--sync", "1s", "-o", "ip_list_tot=1000")
			w.said("ready")
			for range lab.Soak(1, 20) {
				from := len(w.d.Output.String())
				c.break_(d)
				w.saidAfter(from, "tables are not saved, and go on: snapshot of table")
				w.saidAfter(from, c.said)
				w.goesOn()
				c.mend(d)
				w.saidAfter(from, "the tables are saved again")
			}
			if got := w.run("echo +192.0.2.99 > w"); got.Code != 0 {
				t.Errorf("%+v", got)
			}
			w.d.Must("save", "--control", w.d.Control)
			for _, table := range []string{"w", "seen", "open"} {
				if text, err := os.ReadFile(filepath.Join(d.dir, "host", table+".snapshot")); err != nil || len(text) == 0 {
					t.Errorf("%s: %d bytes, %v", table, len(text), err)
				}
			}
			w.end()
		})
	}
}

// TestFullMemory has no space for further addresses where the tables live. Who writes
// them is told so. Packets pass, and known addresses are written.
func TestFullMemory(t *testing.T) {
	w := newWorld(t)
	d := newDisk(t, 4096)
	w.d.Control = filepath.Join(d.dir, "control.sock")
	w.begin("--state", w.state(), "-o", "ip_list_tot=100000")
	d.fill()
	var err error
	n := 0
	for ; err == nil && n < 20000; n++ {
		err = os.WriteFile(w.file("open"), fmt.Appendf(nil, "+172.16.%d.%d", n>>8, n&255), 0)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("after %d addresses: %v", n, err)
	}
	w.goesOn()
	w.d.Must("reload")
	d.free()
	if got := w.run("echo +192.0.2.99 > open && grep -q '^src=192.0.2.99 ' open"); got.Code != 0 {
		t.Errorf("with space again: %+v", got)
	}
	w.end()
}
