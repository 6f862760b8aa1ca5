package fs

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// module keeps the parameters of a mounted module.
type module struct {
	dir string

	mu     sync.Mutex
	params recent.Params // guarded by mu
}

func (m *module) current() recent.Params {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.params
}

func (m *module) setOwner(name string, id uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if name == "ip_list_uid" {
		m.params.UID = id
	} else {
		m.params.GID = id
	}
}

func (m *module) path(name string) string { return filepath.Join(m.dir, parametersName, name) }

// mountModule mounts the module until the test ends.
func mountModule(t *testing.T, p recent.Params) *module {
	t.Helper()
	lab.NeedRoot(t)
	m := &module{dir: filepath.Join(lab.TempDir(t), "xt_recent.module"), params: p}
	mounted, err := MountModule(m.dir, Module{
		Params: m.current, SetOwner: m.setOwner,
		Self: func(pid uint32) string { return fmt.Sprint("/of/", pid) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mounted.Unmount(); err != nil {
			t.Error(err)
		}
	})
	lab.WarmMount(t, m.dir)
	return m
}

// TestParameterFiles reads the parameters and their attributes.
func TestParameterFiles(t *testing.T) {
	p := recent.DefaultParams(recent.Modern)
	for _, pair := range [][2]string{{"ip_list_tot", "1000"}, {"ip_pkt_list_tot", "30"}, {"ip_list_perms", "600"}, {"ip_list_uid", "7"}, {"ip_list_gid", "4294967294"}} {
		if err := p.Set(pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	m := mountModule(t, p)
	if got := list(t, m.dir); got != "Lself dparameters" && got != "dparameters Lself" {
		t.Errorf("the module holds %q", got)
	}
	var files []string
	for _, c := range []struct{ name, content, mode string }{
		{"ip_list_tot", "1000\n", "-r--------"},
		{"ip_pkt_list_tot", "30\n", "-r--------"},
		{"ip_list_hash_size", fmt.Sprintln(p.HashSize()), "-r--------"},
		{"ip_list_perms", "384\n", "-r--------"},
		{"ip_list_uid", "7\n", "-rw-r--r--"},
		{"ip_list_gid", "4294967294\n", "-rw-r--r--"},
	} {
		files = append(files, m.path(c.name))
		text, err := os.ReadFile(m.path(c.name))
		if err != nil || string(text) != c.content {
			t.Errorf("%s: %q, %v; want %q", c.name, text, err, c.content)
		}
		info, err := os.Stat(m.path(c.name))
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); info.Mode().String() != c.mode || info.Size() != 4096 || owner.Uid != 0 || owner.Nlink != 1 {
			t.Errorf("%s: %v of %d bytes, user %d's, %d links; want %s", c.name, info.Mode(), info.Size(), owner.Uid, owner.Nlink, c.mode)
		}
	}
	if link, got := ModuleFiles(m.dir); link != filepath.Join(m.dir, SelfName) || !slices.Equal(got, files) {
		t.Errorf("ModuleFiles: %q, %q; want %q", link, got, files)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil || st.Bsize != 4096 || st.Namelen != 255 {
		t.Errorf("statfs: %+v, %v", st, err)
	}
	for _, dir := range []string{m.dir, m.path("")} {
		if info, err := os.Stat(dir); err != nil || info.Mode().String() != "drwxr-xr-x" {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
}

// TestParameterReads reads pieces, at several positions.
func TestParameterReads(t *testing.T) {
	p := recent.DefaultParams(recent.Modern)
	p.UID = 12345
	f, err := os.Open(mountModule(t, p).path("ip_list_uid"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		length int
		offset int64
		want   string
	}{{100, 0, "12345\n"}, {2, 0, "12"}, {2, 2, "34"}, {100, 4, "5\n"}, {100, 6, ""}, {100, 7, ""}, {100, 1 << 40, ""}} {
		buf := make([]byte, c.length)
		if n, err := f.ReadAt(buf, c.offset); string(buf[:n]) != c.want || err != nil && err != io.EOF {
			t.Errorf("%d bytes from %d: %q, %v; want %q", c.length, c.offset, buf[:n], err, c.want)
		}
	}
}

// TestParseUint compares with the results of kstrtouint of lib/kstrtox.c.
func TestParseUint(t *testing.T) {
	for _, c := range []struct {
		text string
		want uint32
		err  syscall.Errno
	}{
		{"0", 0, 0},
		{"1000", 1000, 0},
		{"1000\n", 1000, 0},
		{"+5", 5, 0},
		{"0x1f", 31, 0},
		{"0X1F\n", 31, 0},
		{"017", 15, 0},
		{"00", 0, 0},
		{"4294967295", 4294967295, 0},
		{"0xffffffff", 4294967295, 0},
		{"00000000000000000000001", 1, 0},
		{"5\x00junk", 5, 0},
		{"4294967296", 0, unix.ERANGE},
		{"99999999999999999999999", 0, unix.ERANGE},
		{"", 0, unix.EINVAL},
		{"\n", 0, unix.EINVAL},
		{"+", 0, unix.EINVAL},
		{"-1", 0, unix.EINVAL},
		{"++1", 0, unix.EINVAL},
		{"+-1", 0, unix.EINVAL},
		{" 1", 0, unix.EINVAL},
		{"1 ", 0, unix.EINVAL},
		{"1\n\n", 0, unix.EINVAL},
		{"1_000", 0, unix.EINVAL},
		{"0x", 0, unix.EINVAL},
		{"0x_1", 0, unix.EINVAL},
		{"0x+1", 0, unix.EINVAL},
		{"0b1", 0, unix.EINVAL},
		{"0o7", 0, unix.EINVAL},
		{"08", 0, unix.EINVAL},
		{"1e3", 0, unix.EINVAL},
		{"root", 0, unix.EINVAL},
	} {
		if got, err := parseUint(c.text); got != c.want || err != c.err {
			t.Errorf("%q: %d, %v; want %d, %v", c.text, got, err, c.want, c.err)
		}
	}
}

// TestParameterWrites changes who owns new tables, and nothing else.
func TestParameterWrites(t *testing.T) {
	m := mountModule(t, recent.DefaultParams(recent.Modern))
	for _, c := range []struct {
		name, file, text string
		want             error
		uid, gid         uint32 // after it
	}{
		{"a user", "ip_list_uid", "1000\n", nil, 1000, 0},
		{"a group", "ip_list_gid", "0x10", nil, 1000, 16},
		{"no number", "ip_list_uid", "root\n", unix.EINVAL, 1000, 16},
		{"too large a number", "ip_list_gid", "4294967296\n", unix.ERANGE, 1000, 16},
		{"a parameter that is fixed", "ip_list_tot", "5\n", unix.EACCES, 1000, 16},
		{"another", "ip_list_perms", "5\n", unix.EACCES, 1000, 16},
		{"one that is none", "ip_list_foo", "5\n", unix.EACCES, 1000, 16},
		{"the user again", "ip_list_uid", "0\n", nil, 0, 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, []attempt{{"write", os.WriteFile(m.path(c.file), []byte(c.text), 0o644), c.want}})
			if p := m.current(); p.UID != c.uid || p.GID != c.gid {
				t.Errorf("user %d and group %d, want %d and %d", p.UID, p.GID, c.uid, c.gid)
			}
			if text, err := os.ReadFile(m.path("ip_list_uid")); err != nil || string(text) != fmt.Sprintln(c.uid) {
				t.Errorf("ip_list_uid is %q, %v", text, err)
			}
		})
	}
	t.Run("by a shell", func(t *testing.T) {
		if out := shell(m.path(""), 0, "echo 5 > ip_list_uid && echo 6 >> ip_list_uid && cat ip_list_uid"); out != "6\n" {
			t.Errorf("%q", out)
		}
	})
	t.Run("by another user", func(t *testing.T) {
		if out := shell(m.path(""), 1, "cat ip_list_uid; cat ip_list_tot; echo 7 > ip_list_uid"); !strings.HasPrefix(out, "6\n") || strings.Count(out, "ermission denied") != 2 {
			t.Errorf("%q", out)
		}
	})
}

// TestModuleSelf follows the module's link from two processes.
func TestModuleSelf(t *testing.T) {
	m := mountModule(t, recent.DefaultParams(recent.Modern))
	for range 2 {
		cmd := exec.Command("readlink", filepath.Join(m.dir, SelfName))
		out, err := cmd.Output()
		if want := fmt.Sprintf("/of/%d\n", cmd.Process.Pid); err != nil || string(out) != want {
			t.Errorf("%q, %v; want %q", out, err, want)
		}
	}
}

// TestModuleStays tries to make, remove, rename and change entries.
func TestModuleStays(t *testing.T) {
	m := mountModule(t, recent.DefaultParams(recent.Modern))
	for _, c := range []struct {
		name     string
		old, two string // two of the same kind, or one and the same
		unlink   error
		rmdir    error
	}{
		{"the link", "self", "self", unix.EPERM, unix.ENOTDIR},
		{"the directory", "parameters", "parameters", unix.EISDIR, unix.EPERM},
		{"a file", "parameters/ip_list_uid", "parameters/ip_list_gid", unix.EPERM, unix.ENOTDIR},
		{"a fixed file", "parameters/ip_list_tot", "parameters/ip_list_perms", unix.EPERM, unix.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, two := filepath.Join(m.dir, c.old), filepath.Join(m.dir, c.two)
			fresh := filepath.Join(filepath.Dir(old), "new")
			attempts := []attempt{
				{"mkdir", unix.Mkdir(fresh, 0o755), unix.EPERM},
				{"mknod", unix.Mknod(fresh, unix.S_IFREG|0o644, 0), unix.EACCES},
				{"create", os.WriteFile(fresh, nil, 0o644), unix.EACCES},
				{"symlink", unix.Symlink("x", fresh), unix.EPERM},
				{"unlink", unix.Unlink(old), c.unlink},
				{"rmdir", unix.Rmdir(old), c.rmdir},
				{"rename", unix.Rename(old, fresh), unix.EPERM},
			}
			if old != two {
				attempts = append(attempts,
					attempt{"rename to another", unix.Rename(old, two), unix.EPERM},
					attempt{"link", unix.Link(old, fresh), unix.EPERM},
					attempt{"chmod", unix.Chmod(old, 0o777), unix.EPERM},
					attempt{"chown", unix.Chown(old, 1, 1), unix.EPERM})
			}
			check(t, attempts)
		})
	}
	if got := list(t, m.path("")); strings.Count(got, "-") != len(parameters) {
		t.Errorf("the files are %q", got)
	}
}
