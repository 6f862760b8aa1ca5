package fs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// attempt is a call on a file or directory, and its result.
type attempt struct {
	name string
	err  error
	want error // nil for no error
}

func check(t *testing.T, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		if !errors.Is(a.err, a.want) {
			t.Errorf("%s: %v, want %v", a.name, a.err, a.want)
		}
	}
}

// opening opens a file and returns the error.
func opening(dirfd int, path string) error {
	fd, err := unix.Openat(dirfd, path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// TestRemove removes a folder with a file, the folder itself and a working
// directory open in it.
func TestRemove(t *testing.T) {
	m := mountNamespaces(t, func(uint32) string { return "ns/red" })
	addFolder(t, m, "blue")
	h := unmadeFolder(t, m, "red")
	h.add(t, "red")
	rule := h.rule(t, "ssh")
	write(t, h.path("ssh"), "+192.0.2.1")
	file, err := os.OpenFile(h.path("ssh"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir, err := os.Open(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	t.Chdir(h.dir)

	var st unix.Stat_t
	buf := make([]byte, 100)
	pread := func() error { _, err := unix.Pread(int(file.Fd()), buf, 0); return err }
	pwrite := func() error { _, err := unix.Pwrite(int(file.Fd()), []byte("+192.0.2.2"), 0); return err }
	gone := func(what string) {
		t.Helper()
		if got := list(t, m.Dir()+"/ns"); got != "dblue" {
			t.Errorf("%s: the folders are %q", what, got)
		}
		dir.Seek(0, 0)
		if files, err := dir.ReadDir(-1); err != nil || len(files) != 0 {
			t.Errorf("%s: the old directory lists %v, %v", what, files, err)
		}
		fd := int(dir.Fd())
		check(t, []attempt{
			{what + ": stat of the folder", unix.Stat(h.dir, &st), unix.ENOENT},
			{what + ": stat of the table", unix.Stat(h.path("ssh"), &st), unix.ENOENT},
			{what + ": stat by way of self", unix.Stat(m.Dir()+"/self/ssh", &st), unix.ENOENT},
			{what + ": open", opening(unix.AT_FDCWD, h.path("ssh")), unix.ENOENT},
			{what + ": chmod", unix.Chmod(h.path("ssh"), 0o600), unix.ENOENT},
			{what + ": fstat of the file", unix.Fstat(int(file.Fd()), &st), unix.ESTALE},
			{what + ": fchmod of the file", unix.Fchmod(int(file.Fd()), 0o600), unix.ESTALE},
			{what + ": fstat of the directory", unix.Fstat(fd, &st), unix.ESTALE},
			{what + ": openat", opening(fd, "ssh"), unix.ESTALE},
			{what + ": openat of another table", opening(fd, "web"), unix.ESTALE},
			{what + ": stat of the working directory", unix.Stat(".", &st), unix.ESTALE},
			{what + ": open in the working directory", opening(unix.AT_FDCWD, "ssh"), unix.ESTALE},
			{what + ": the way up from it", unix.Stat("..", &st), unix.ESTALE},
		})
	}
	m.Remove("red")
	gone("removed")
	check(t, []attempt{{"read", pread(), nil}, {"write", pwrite(), nil}}) // the table is still there
	h.reg.Destroy(rule)
	gone("without tables")
	check(t, []attempt{{"read", pread(), unix.EIO}, {"write", pwrite(), unix.EIO}})

	again := addFolder(t, m, "red")
	if got := content(t, again.path("ssh")); got != "" {
		t.Errorf("the table of a folder that came again has %q", got)
	}
	check(t, []attempt{
		{"read of the old file", pread(), unix.EIO},
		{"fstat of the old directory", unix.Fstat(int(dir.Fd()), &st), unix.ESTALE},
		{"openat of the old directory", opening(int(dir.Fd()), "ssh"), unix.ESTALE},
		{"the old working directory", opening(unix.AT_FDCWD, "ssh"), unix.ESTALE},
	})
}

// TestFolderComesAndGoes adds and removes a folder of one name, which is a new
// directory each time.
func TestFolderComesAndGoes(t *testing.T) {
	m := mountNamespaces(t, nowhere)
	seen := make(map[uint64]bool)
	var st unix.Stat_t
	for i := range 50 {
		h := unmadeFolder(t, m, "red")
		if err := unix.Stat(h.dir, &st); !errors.Is(err, unix.ENOENT) {
			t.Fatalf("round %d: stat before it: %v", i, err)
		}
		h.add(t, "red")
		rule := h.rule(t, "ssh")
		write(t, h.path("ssh"), "+192.0.2.1")
		if got := content(t, h.path("ssh")); got != "192.0.2.1" {
			t.Fatalf("round %d: its table has %q", i, got)
		}
		for _, path := range []string{h.dir, h.path("ssh")} {
			ino := inode(t, path)
			if seen[ino] {
				t.Fatalf("round %d: %s has an inode of before, %d", i, path, ino)
			}
			seen[ino] = true
		}
		h.reg.Destroy(rule)
		m.Remove("red")
	}
	// The kernel does not wait for a RELEASE.
	lab.Eventually(t, "the end of all folders and open files", func() error {
		files := m.Namespaces.fs
		files.mu.Lock()
		defer files.mu.Unlock()
		if len(files.dirs) != 2 || len(m.named) != 0 || len(m.folders) != 0 || len(files.handles) != 0 {
			return fmt.Errorf("left: %d directories, %d names, %d folders, %d open files", len(files.dirs)-2, len(m.named), len(m.folders), len(files.handles))
		}
		return nil
	})
}

// TestTreeStays tries to make, remove and rename what is in each directory, as
// in procfs.
func TestTreeStays(t *testing.T) {
	m := mountNamespaces(t, func(uint32) string { return "ns/red" })
	red := addFolder(t, m, "red")
	red.rule(t, "web")
	addFolder(t, m, "blue")
	for _, c := range []struct {
		name     string
		old, two string // two of the same kind, or one and the same
		unlink   error
		rmdir    error
	}{
		{"the root's directory", "ns", "ns", unix.EISDIR, unix.EPERM},
		{"the root's link", "self", "self", unix.EPERM, unix.ENOTDIR},
		{"a folder", "ns/red", "ns/blue", unix.EISDIR, unix.EPERM},
		{"a table", "ns/red/ssh", "ns/red/web", unix.EPERM, unix.ENOTDIR},
		{"a table by way of self", "self/ssh", "self/web", unix.EPERM, unix.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, two := filepath.Join(m.Dir(), c.old), filepath.Join(m.Dir(), c.two)
			fresh := filepath.Join(filepath.Dir(old), "new")
			attempts := []attempt{
				{"mkdir", unix.Mkdir(fresh, 0o755), unix.ENOENT},
				{"mknod", unix.Mknod(fresh, unix.S_IFREG|0o644, 0), unix.ENOENT},
				{"create", os.WriteFile(fresh, nil, 0o644), unix.ENOENT},
				{"symlink", unix.Symlink("x", fresh), unix.ENOENT},
				{"mkdir where it is", unix.Mkdir(old, 0o755), unix.EEXIST},
				{"unlink", unix.Unlink(old), c.unlink},
				{"rmdir", unix.Rmdir(old), c.rmdir},
				{"unlink of nothing", unix.Unlink(fresh), unix.ENOENT},
				{"rename", unix.Rename(old, fresh), unix.ENOENT},
			}
			if old != two {
				attempts = append(attempts, attempt{"rename to another", unix.Rename(old, two), unix.EPERM})
			}
			check(t, attempts)
		})
	}
	for dir, want := range map[string]string{"": "dns Lself", "ns": "dred dblue", "ns/red": "-ssh -web", "ns/blue": "-ssh"} {
		if got := list(t, filepath.Join(m.Dir(), dir)); got != want {
			t.Errorf("%q holds %q, want %q", dir, got, want)
		}
	}
}

// TestChmod changes the modes of files and directories. Each has a mode of its own.
func TestChmod(t *testing.T) {
	m := mountNamespaces(t, func(uint32) string { return "ns/red" })
	addFolder(t, m, "red")
	addFolder(t, m, "blue")
	modes := map[string]uint32{"": 0o555, "ns": 0o555, "self": 0o777, "ns/red": 0o555, "ns/blue": 0o555, "ns/red/ssh": 0o644, "ns/blue/ssh": 0o644}
	for _, c := range []struct {
		path string // what is changed
		of   string // what that is
		mode uint32
	}{
		{"", "", 0o755}, {"ns", "ns", 0o511}, {"ns/red", "ns/red", 0o550}, {"ns/red/ssh", "ns/red/ssh", 0o600},
		{"self", "ns/red", 0o500}, {"self/ssh", "ns/red/ssh", 0o640},
	} {
		if err := unix.Chmod(filepath.Join(m.Dir(), c.path), c.mode); err != nil {
			t.Errorf("chmod %q: %v", c.path, err)
		}
		modes[c.of] = c.mode
		for path, want := range modes {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(m.Dir(), path), &st); err != nil || st.Mode&0o7777 != want {
				t.Errorf("after chmod %q, %q is %o, %v; want %o", c.path, path, st.Mode&0o7777, err, want)
			}
		}
	}
	self := filepath.Join(m.Dir(), SelfName)
	check(t, []attempt{{"chown of self itself", unix.Lchown(self, 1, 1), unix.EPERM}})
}

// TestFoldersTogether adds and removes folders while others walk the tree, and
// read and write what they find there.
func TestFoldersTogether(t *testing.T) {
	m := mountNamespaces(t, func(pid uint32) string { return FolderPath([]string{"red", "blue"}[pid%2]) })
	stop := make(chan struct{})
	var users, makers sync.WaitGroup
	use := func(path string) error {
		if err := os.WriteFile(path, []byte("+192.0.2.1"), 0); err != nil {
			return err
		}
		_, err := os.ReadFile(path)
		return err
	}
	walk := func() error {
		return filepath.WalkDir(m.Dir(), func(path string, file fs.DirEntry, err error) error {
			if err == nil && file.Type().IsRegular() {
				return use(path)
			}
			return err
		})
	}
	self := func() error { return use(filepath.Join(m.Dir(), SelfName, "ssh")) }
	for _, f := range []func() error{walk, walk, self} {
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := f()
				if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESTALE) && !errors.Is(err, unix.EIO) {
					t.Error(err)
				}
			}
		})
	}
	for _, name := range []string{"red", "blue"} {
		makers.Go(func() {
			var st unix.Stat_t
			for i := range 150 {
				h := unmadeFolder(t, m, name)
				folder, err := m.Add(name)
				if err != nil {
					t.Error(err)
					return
				}
				h.reg = emptyModule(t).NewRegistry(folder.Update)
				rule := h.rule(t, "ssh")
				if err := unix.Stat(h.path("ssh"), &st); err != nil {
					t.Errorf("round %d: stat of %s: %v", i, h.path("ssh"), err)
				}
				h.reg.Destroy(rule)
				m.Remove(name)
				for _, path := range []string{h.dir, h.path("ssh")} {
					if err := unix.Stat(path, &st); !errors.Is(err, unix.ENOENT) {
						t.Errorf("round %d: stat of %s after that went: %v", i, path, err)
					}
				}
			}
		})
	}
	makers.Wait()
	close(stop)
	users.Wait()
}
