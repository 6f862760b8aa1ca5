package state

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// nextEnv is the directory of a process of another user: TestService.
const nextEnv = "RECENTFS_TEST_NEXT"

// next prints what is in the table of a directory, and changes it.
func next(dir string) {
	h := start(nil, dir, 0, killedParams(), recent.Info{Name: "t"})
	c := h.Table("t").Cursor()
	b := make([]byte, 1000)
	n, err := c.ReadAt(b, 0)
	if err == nil {
		_, _, err = h.Table("t").Write([]byte("+192.0.2.2"), 0)
	}
	if err == nil {
		err = h.Save(h.Tables())
	}
	fmt.Printf("%s%v %q\n", b[:n], err, h.warnings)
	h.stop()
}

// each calls do with all that is in directories, and with these.
func each(t *testing.T, do func(path string, mode os.FileMode, uid, gid uint32), dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		n := 0
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			n++
			info, err := os.Lstat(path)
			if err == nil {
				stat := info.Sys().(*syscall.Stat_t)
				do(path, info.Mode(), stat.Uid, stat.Gid)
			}
			return err
		})
		if err != nil || n < 2 {
			t.Errorf("%s has %d entries, %v", dir, n, err)
		}
	}
}

// fill makes all kinds of files: two snapshots of a table, and its region.
func (h *host) fill() {
	h.write("t", "+192.0.2.1")
	h.save()
	h.write("t", "+192.0.2.1")
	h.save()
}

// TestModes has each file and directory for one user, whatever the umask.
func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		t.Run(fmt.Sprintf("%03o", umask), func(t *testing.T) {
			dir := memoryDir(t)
			above := filepath.Join(dir, "run", "recentfs")
			old := syscall.Umask(umask)
			defer syscall.Umask(old)
			unlock, err := Lock(above + "/live")
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			h := start(t, above+"/live/host", 1000, killedParams(), recent.Info{Name: "t"})
			h.fill()
			each(t, func(path string, mode os.FileMode, _, _ uint32) {
				if want := map[bool]os.FileMode{true: os.ModeDir | 0o700, false: 0o600}[mode.IsDir()]; mode != want {
					t.Errorf("%s has mode %v, want %v", path, mode, want)
				}
			}, above+"/live")
			for _, dir := range []string{above, filepath.Dir(above)} { // whoever looks for the mount passes here
				if info, err := os.Stat(dir); err != nil || info.Mode() != os.ModeDir|0o755 {
					t.Errorf("%s has mode %v, %v", dir, info.Mode(), err)
				}
			}
			h.stop()
		})
	}
}

// TestService has root work on directories of another user. Where that is the service's
// user, all that root makes is its own, and it goes on with that. Another user's
// directories are refused.
func TestService(t *testing.T) {
	lab.NeedRoot(t)
	const uid, gid = 4711, 4712
	before := isService
	defer func() { isService = before }()
	isService = func(of uint32) bool { return of == uid }

	give := func(to int) string {
		dir := memoryDir(t)
		if err := os.Chown(dir, to, gid); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := give(uid)
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, dir, 1000, killedParams(), recent.Info{Name: "t"})
	h.fill()
	h.stop()
	unlock()
	each(t, func(path string, _ os.FileMode, isUID, isGID uint32) {
		if isUID != uid || isGID != gid {
			t.Errorf("%s is of %d:%d", path, isUID, isGID)
		}
	}, dir)
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), nextEnv+"="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "src=192.0.2.1 ") || !strings.Contains(string(out), "<nil> []") {
		t.Errorf("the service finds\n%s, %v", out, err)
	}
	h = start(t, dir, 1000, killedParams(), recent.Info{Name: "t"}) // and root again
	if got := h.lines("t"); !strings.Contains(got, "src=192.0.2.2 ") || len(h.warnings) > 0 {
		t.Errorf("root finds\n%s, warnings %q", got, h.warnings)
	}
	h.stop()

	// In /dev/shm the directory has the owner of the one in /run.
	runtime, memory := give(uid), memoryDir(t)
	shared, unlock, err := lockIn(memory, runtime, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if info, err := os.Stat(shared); err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
		t.Errorf("%s: %v", shared, err)
	}

	for name, open := range map[string]func(dir string) error{
		"lock": func(dir string) error { _, err := Lock(dir); return err },
		"live": func(dir string) error { _, err := Open(dir, memoryDir(t), nil, nil); return err },
		"disk": func(dir string) error { _, err := Open(memoryDir(t), dir, nil, nil); return err },
	} {
		if err := open(give(uid + 5)); err == nil || !strings.Contains(err.Error(), "is not a directory of this user: remove it, chown it, or name another") {
			t.Errorf("%s of another user: %v", name, err)
		}
	}
}

// TestInTheWay has something other than a file where a file should be. Nothing waits for
// it, and nothing that a link leads to is read or changed.
func TestInTheWay(t *testing.T) {
	now := boot{250, 1 << 20, time.Now()}
	elsewhere := t.TempDir()
	others := begin(t, elsewhere, now, recent.Info{Name: "t"})
	others.write("t", "+192.0.2.99")
	others.save()
	files := map[bool]string{true: others.path("t"), false: others.live.path("t")}
	for _, name := range []string{"t.table", "t.snapshot", "t.snapshot~", "t.snapshot.new", "1.fresh"} {
		for _, kind := range []string{"FIFO", "link", "socket"} {
			t.Run(name+" is a "+kind, func(t *testing.T) {
				live, saved := memoryDir(t), t.TempDir()
				onDisk := strings.Contains(name, savedSuffix)
				path, other := filepath.Join(live, name), files[onDisk]
				if onDisk {
					path = filepath.Join(saved, name)
				}
				before, err := os.ReadFile(other)
				if err != nil {
					t.Fatal(err)
				}
				switch kind {
				case "FIFO":
					if err = unix.Mkfifo(path, 0o600); err == nil {
						var writer *os.File // which writes nothing
						if writer, err = os.OpenFile(path, os.O_RDWR, 0); err == nil {
							defer writer.Close()
						}
					}
				case "link":
					err = os.Symlink(other, path)
				case "socket":
					err = unix.Mknod(path, unix.S_IFSOCK|0o600, 0)
				}
				if err != nil {
					t.Fatal(err)
				}
				h := beginIn(t, live, saved, now, recent.Info{Name: "t"})
				if got := h.text("t"); got != "" {
					t.Errorf("the table holds %q", got)
				}
				h.fill()
				if after, err := os.ReadFile(other); err != nil || !bytes.Equal(after, before) {
					t.Errorf("the file elsewhere has changed, %v", err)
				}
				each(t, func(path string, mode os.FileMode, _, _ uint32) {
					if !mode.IsDir() && !mode.IsRegular() && !strings.Contains(path, badInfix) {
						t.Errorf("%s stays %v", path, mode)
					}
				}, live, saved)
			})
		}
	}
}
