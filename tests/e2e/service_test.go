package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// TestNotify has systemd told when the daemon is ready and when it stops.
func TestNotify(t *testing.T) {
	path := filepath.Join(lab.TempDir(t), "notify")
	systemd, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	d := lab.NewDaemon(t, lab.NewNetns(t), oneTable("T"))
	d.Prepare = func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path) }
	told := func(want string) {
		t.Helper()
		buf := make([]byte, 100)
		if err := systemd.SetReadDeadline(time.Now().Add(lab.Patience)); err != nil {
			t.Fatal(err)
		}
		if n, _, err := systemd.ReadFrom(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("systemd is told %q, %v, want %q", buf[:n], err, want)
		}
	}
	d.Start()
	told("READY=1")
	d.Stop()
	told("STOPPING=1")
	if strings.Contains(d.Output.String(), "was not told") {
		t.Errorf("it says:\n%s", &d.Output)
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	d.Start()
	d.Stop()
	for _, state := range []string{"READY=1", "STOPPING=1"} {
		if !strings.Contains(d.Output.String(), "systemd was not told: "+state) {
			t.Errorf("nobody listens, and it does not warn of %s:\n%s", state, &d.Output)
		}
	}
}

// TestReaderOfLogGoes has nobody read the daemon's log any more. It goes on, and
// stops as usual.
func TestReaderOfLogGoes(t *testing.T) {
	d := lab.NewDaemon(t, lab.NewNetns(t), oneTable("T"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	d.Prepare = func(cmd *exec.Cmd) { cmd.Stderr = w }
	d.Start()
	r.Close()
	w.Close()
	for range 3 {
		d.Must("reload")
		d.Must("add", "T", "192.0.2.1")
	}
	d.Only("T")
	d.Stop()
}
