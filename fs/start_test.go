package fs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/tests/lab"
)

// unmounted is a mount point on dir, before the mount.
func unmounted(t *testing.T, dir string) *Mountpoint {
	t.Helper()
	m := &Mountpoint{sites: OwnSites{}}
	var err error
	if m.site, err = m.sites.Find(dir); err == nil {
		err = m.site.lookUnder()
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// serveTables mounts and serves an empty folder, whatever is mounted there by now.
func (m *Mountpoint) serveTables(t *testing.T) {
	t.Helper()
	files, _ := newFilesystem(nil)
	m.fs = files
	fd, err := device.Open()
	if err == nil {
		err = m.site.mount(fd)
	}
	if err == nil {
		err = m.answer(fd, files, device.Options())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startLines starts mounts on dir at once, and returns the first line that each says.
func startLines(t *testing.T, dir string, n int) (lines []string) {
	t.Helper()
	wait, begin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer wait.Close()
	said := make(chan string, n)
	for range n {
		cmd := exec.Command("sh", "-c", `read -r _; exec "$0"`, os.Args[0])
		cmd.Stdin = wait
		cmd.Env = append(os.Environ(), mountEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { kill(cmd) })
		go func() {
			line := make([]byte, 1000)
			n, _ := out.Read(line)
			said <- string(line[:n])
		}()
	}
	begin.Close()
	for range n {
		lines = append(lines, <-said)
	}
	return lines
}

// TestStartsAtOnce starts two recentfs on one directory, where a killed one has left
// a mount, where there is none, and where the directory has to be made.
func TestStartsAtOnce(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct {
		name  string
		setUp func(t *testing.T, dir string)
	}{
		{"over a dead one", func(t *testing.T, dir string) { kill(mountElsewhere(t, dir)) }},
		{"over an empty directory", func(t *testing.T, dir string) { os.Mkdir(dir, 0o755) }},
		{"without a directory", func(*testing.T, string) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for round := range 10 {
				dir := filepath.Join(lab.TempDir(t), "x")
				t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
				c.setUp(t, dir)
				lines := startLines(t, dir, 2)
				if lines[0] != "ready\n" {
					lines[0], lines[1] = lines[1], lines[0]
				}
				if want := "another recentfs is mounted there"; lines[0] != "ready\n" || !strings.Contains(lines[1], want) {
					t.Fatalf("round %d: they say %q, want ready and %q", round, lines, want)
				}
				if n := mounts(t, dir); n != 1 {
					t.Errorf("round %d: %d mounts on the directory, want 1", round, n)
				}
				if out, err := exec.Command("ls", dir).CombinedOutput(); err != nil || string(out) != "foo\n" {
					t.Fatalf("round %d: ls says %q, %v", round, out, err)
				}
			}
		})
	}
}

// TestLiveMountBelow has another recentfs mount between our look at the mounts and
// our mount, as it may where somebody holds the lock of both.
func TestLiveMountBelow(t *testing.T) {
	lab.NeedRoot(t)
	for _, dead := range []bool{false, true} {
		dir := lab.TempDir(t)
		if dead {
			kill(mountElsewhere(t, dir))
		}
		m := unmounted(t, dir)
		mountElsewhere(t, dir)
		m.serveTables(t)
		err := m.site.detachDeadBelow()
		if want := "another recentfs is mounted there"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("dead=%v: %v, want %q", dead, err, want)
		}
		if err := m.Unmount(); err != nil {
			t.Errorf("dead=%v: %v", dead, err)
		}
		if out, err := exec.Command("ls", dir).CombinedOutput(); err != nil || string(out) != "foo\n" {
			t.Errorf("dead=%v: then ls says %q, %v", dead, out, err)
		}
	}
}

// TestLiveMountAbove has another recentfs mount over ours before we detach the dead
// one below.
func TestLiveMountAbove(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	kill(mountElsewhere(t, dir))
	m := unmounted(t, dir)
	other := unmounted(t, dir)
	m.serveTables(t)
	other.serveTables(t)
	if err := m.site.detachDeadBelow(); err != nil {
		t.Error(err)
	}
	if n := mounts(t, dir); n != 3 {
		t.Errorf("%d mounts on the directory, want all 3", n)
	}
	for _, m := range []*Mountpoint{other, m} {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	}
	if n := mounts(t, dir); n != 0 {
		t.Errorf("%d mounts left on the directory", n)
	}
}

// TestMountOverStopped mounts where the process of another recentfs is stopped.
func TestMountOverStopped(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	cmd := mountElsewhere(t, dir)
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(cmd.Process.Pid, nil, unix.WUNTRACED, nil); err != nil { // until it is stopped
		t.Fatal(err)
	}
	m, _, err := Mount(dir)
	if err == nil {
		m.Unmount()
		t.Fatal("mounted")
	}
	if want := dir + ": another recentfs is mounted there and does not answer"; !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if !IsLive(dir) {
		t.Error("a process that is stopped has not ended")
	}
	kill(cmd)
	if IsLive(dir) {
		t.Error("a process that was killed has ended")
	}
}

// TestDirectoryStays mounts over the dead mount on a directory that somebody else
// has made.
func TestDirectoryStays(t *testing.T) {
	lab.NeedRoot(t)
	dir := filepath.Join(lab.TempDir(t), "x")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	kill(mountElsewhere(t, dir))
	m, _, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode() != os.ModeDir|0o750 {
		t.Errorf("the directory is %v, %v", info, err)
	}
}
