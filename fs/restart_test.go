package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// under is a directory as it is without the mounts on it.
type under struct {
	t  *testing.T
	fd int
}

// openUnder opens a directory on which nothing is mounted yet.
func openUnder(t *testing.T, dir string) under {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return under{t, fd}
}

// write makes a plain file.
func (u under) write(name, text string) {
	u.t.Helper()
	fd, err := unix.Openat(u.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		u.t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		u.t.Fatal(err)
	}
}

// names are the directory's entries.
func (u under) names() []string {
	u.t.Helper()
	fd, err := unix.Openat(u.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		u.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "under the mount")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		u.t.Fatal(err)
	}
	return names
}

// mounts counts the mounts on a directory.
func mounts(t *testing.T, dir string) int {
	t.Helper()
	return mountsOf(t, "thread-self", dir)
}

func mountsOf(t *testing.T, pid, dir string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " "+dir+" ") {
			n++
		}
	}
	return n
}

// TestMountOverDeadAndFile has a file in the directory under the dead mount.
func TestMountOverDeadAndFile(t *testing.T) {
	lab.NeedRoot(t)
	for _, dead := range []int{1, 3} {
		dir := lab.TempDir(t)
		below := openUnder(t, dir)
		for range dead {
			kill(mountElsewhere(t, dir))
		}
		below.write("ssh", "+192.0.2.1\n")
		if err := os.Mkdir(filepath.Join(dir, "x"), 0o755); err == nil {
			t.Fatal("there is no dead mount")
		}
		m, _, err := Mount(dir)
		if err != nil {
			t.Fatalf("over %d dead mounts: %v", dead, err)
		}
		if n := mounts(t, dir); n != 1 {
			t.Errorf("%d mounts on the directory, want the new one", n)
		}
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
		if n := mounts(t, dir); n != 0 {
			t.Errorf("%d mounts left on the directory", n)
		}
	}
}

// TestMountOverDeadByLink names the mount point by links to it.
func TestMountOverDeadByLink(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct{ name, target string }{
		{"absolute", "BASE/real"},
		{"relative", "real"},
		{"with a slash at the end", "real/"},
		{"by way of a directory", "../BASENAME/real"},
		{"of a link", "second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := lab.TempDir(t)
			dir, link := filepath.Join(base, "real"), filepath.Join(base, "link")
			target := strings.NewReplacer("BASENAME", filepath.Base(base), "BASE", base).Replace(c.target)
			if err := errors.Join(os.Mkdir(dir, 0o755), os.Symlink(target, link), os.Symlink("real", filepath.Join(base, "second"))); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
			kill(mountElsewhere(t, link))
			m, _, err := Mount(link)
			if err != nil {
				t.Fatal(err)
			}
			if n := mounts(t, dir); m.Dir() != dir || n != 1 {
				t.Errorf("%d mounts on %s, and Dir is %s", n, dir, m.Dir())
			}
			if err := m.Unmount(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMountHidesFilesOfWriters mounts over files that writers have made in the
// directory while nothing was mounted on it.
func TestMountHidesFilesOfWriters(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct {
		name, text string
		hidden     bool
	}{
		{"added", "+192.0.2.1\n", true},
		{"removed", "-192.0.2.1", true},
		{"flushed", "/\n", true},
		{"truncated", "", true},
		{"added, several times", strings.Repeat("+192.0.2.1\n", 100), true},
		{"without a sign", "10.0.0.1\n", true},
		{"a word", "clear", true},
		{"63 bytes", strings.Repeat("x", 63), true},
		{"64 bytes", strings.Repeat("x", 63) + "\n", false},
		{"two lines", "*recent\nCOMMIT\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := lab.TempDir(t)
			write(t, filepath.Join(dir, "ssh"), c.text)
			m, _, err := Mount(dir)
			if !c.hidden {
				if want := `is not empty ("ssh" is in it)`; err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Hidden(); !slices.Equal(got, []string{"ssh"}) {
				t.Errorf("hidden: %q", got)
			}
			if got := list(t, dir); got != "" {
				t.Errorf("the mount lists %q", got)
			}
			if err := m.Unmount(); err != nil {
				t.Error(err)
			}
			if text, err := os.ReadFile(filepath.Join(dir, "ssh")); err != nil || string(text) != c.text {
				t.Errorf("then the file has %q, %v", text, err)
			}
		})
	}
}

// TestWriterDuringRestarts writes to a table's file in a loop while recentfs is
// killed and started again. No write may make a file in the directory under the
// mount.
func TestWriterDuringRestarts(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	below := openUnder(t, dir)
	cmd := mountElsewhere(t, dir)
	writer := exec.Command("sh", "-c", "while :; do echo +192.0.2.1 > ssh; done 2>/dev/null")
	writer.Args[2] = strings.ReplaceAll(writer.Args[2], "ssh", filepath.Join(dir, "ssh"))
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	defer kill(writer)
	for range 30 {
		kill(cmd)
		cmd = mountElsewhere(t, dir)
	}
	if got := below.names(); len(got) != 0 {
		t.Errorf("under the mount are %q", got)
	}
	if n := mounts(t, dir); n != 1 {
		t.Errorf("%d mounts on the directory, want 1", n)
	}
}

// TestStacked orders mounts on one directory. Where a mount was put beneath another,
// the last line is not the uppermost.
func TestStacked(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"none", "", nil},
		{"one", "36 25 0:31 / /x rw - tmpfs a rw\n", []string{"a"}},
		{"two", "36 25 0:31 / /x rw - tmpfs a rw\n37 36 0:32 / /x rw shared:3 master:1 - tmpfs b rw\n", []string{"b", "a"}},
		{"one put beneath", "36 40 0:31 / /x rw - tmpfs a rw\n40 25 0:32 / /x rw - tmpfs b rw\n", []string{"a", "b"}},
		{"others out of reach", "36 25 0:31 / /x rw - tmpfs a rw\n40 39 0:32 / /x rw - tmpfs b rw\n", []string{"b"}},
		{"a root that is its own parent", "1 1 0:31 / / rw - tmpfs a rw\n", []string{"a"}},
		{"another directory", "36 25 0:31 / /y rw - tmpfs a rw\n", []string{"a"}},
		{"escapes", "36 25 0:31 / /with\\040space/\\134040 rw - tmpfs a\\040b\\043 rw\n", []string{"a b#"}},
		{"an empty source", "36 25 0:31 / /x rw - tmpfs  rw\n", []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			infos, err := mountinfo.GetMountsFromReader(strings.NewReader(c.text), nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range stacked(infos) {
				got = append(got, m.Source)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestDeadMountStaysBelow mounts where the kernel does not put a mount beneath
// the dead one: a user namespace may not move what was mounted before it. Before
// Linux 6.5 that is so everywhere.
func TestDeadMountStaysBelow(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	kill(mountElsewhere(t, dir))
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", os.Args[0])
	cmd.Env = append(os.Environ(), mountEnv+"="+dir)
	startMount(t, cmd)
	if n := mountsOf(t, fmt.Sprint(cmd.Process.Pid), dir); n != 2 {
		t.Errorf("%d mounts on the directory, want the new one and the dead one", n)
	}
	enter := []string{"--target", fmt.Sprint(cmd.Process.Pid), "--user", "--mount", "ls", dir}
	if out, err := exec.Command("nsenter", enter...).CombinedOutput(); err != nil || string(out) != "foo\n" {
		t.Errorf("ls: %q, %v", out, err)
	}
}

// TestUnmountDetachesDeadBelow ends a mount that has a dead one below.
func TestUnmountDetachesDeadBelow(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	kill(mountElsewhere(t, dir))
	m := unmounted(t, dir)
	m.serveTables(t)
	if n := mounts(t, dir); n != 2 {
		t.Fatalf("%d mounts on the directory, want 2", n)
	}
	if err := m.Unmount(); err != nil {
		t.Error(err)
	}
	if n := mounts(t, dir); n != 0 {
		t.Errorf("%d mounts left on the directory", n)
	}
}
