package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// tree is a mount of several folders.
type tree struct {
	*Mountpoint
	*Namespaces
}

// mountNamespaces mounts the directory ns without folders until the test ends.
func mountNamespaces(t *testing.T, self func(pid uint32) string) *tree {
	t.Helper()
	lab.NeedRoot(t)
	m, ns, err := MountNamespaces(filepath.Join(lab.TempDir(t), "xt_recent"), self)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
	})
	lab.WarmMount(t, m.Dir())
	return &tree{m, ns}
}

func nowhere(uint32) string { return "unmanaged" }

// unmadeFolder is a folder that add makes.
func unmadeFolder(t *testing.T, m *tree, name string) *shown {
	t.Helper()
	return &shown{tree: m, dir: filepath.Join(m.Dir(), FolderPath(name))}
}

// addFolder shows a new registry that has the table ssh.
func addFolder(t *testing.T, m *tree, name string) *shown {
	t.Helper()
	h := unmadeFolder(t, m, name)
	h.add(t, name)
	h.rule(t, "ssh")
	return h
}

// add makes the folder, with a new registry.
func (h *shown) add(t *testing.T, name string) {
	t.Helper()
	folder, err := h.tree.Add(name)
	if err != nil {
		t.Fatal(err)
	}
	h.reg = emptyModule(t).NewRegistry(folder.Update)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// list returns what readdir(3) says of a directory: kinds and names, in its order.
func list(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, err := f.ReadDir(-1)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		all = append(all, file.Type().String()[:1]+file.Name())
	}
	return strings.Join(all, " ")
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	return st.Ino
}

// TestNamespaces shows two registries with a table of the same name.
func TestNamespaces(t *testing.T) {
	m := mountNamespaces(t, nowhere)
	if got := list(t, m.Dir()+"/ns"); got != "" {
		t.Errorf("folders at first: %q", got)
	}
	green, red := addFolder(t, m, "green"), addFolder(t, m, "red")
	newest := addFolder(t, m, "blue")
	red.rule(t, "web")
	write(t, red.path("ssh"), "+192.0.2.1")
	write(t, green.path("ssh"), "+192.0.2.2")
	for _, c := range []struct{ name, got, want string }{
		{"the root", list(t, m.Dir()), "dns Lself"},
		{"the folders, in the order in which they came", list(t, m.Dir()+"/ns"), "dgreen dred dblue"},
		{"red's tables", list(t, red.dir), "-ssh -web"},
		{"green's tables", list(t, green.dir), "-ssh"},
		{"red's ssh", content(t, red.path("ssh")), "192.0.2.1"},
		{"green's ssh", content(t, green.path("ssh")), "192.0.2.2"},
		{"blue's ssh", content(t, newest.path("ssh")), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
	seen := make(map[uint64]string)
	for _, path := range []string{"", "ns", "self", "ns/red", "ns/green", "ns/red/ssh", "ns/green/ssh", "ns/red/web"} {
		ino := inode(t, filepath.Join(m.Dir(), path))
		if other, ok := seen[ino]; ok {
			t.Errorf("%q and %q are both inode %d", path, other, ino)
		}
		seen[ino] = path
	}
	for _, path := range []string{"ssh", "red", "ns/ssh", "ns/ns", "ns/red/web/x", "ns/green/web", "ns/self"} {
		if _, err := os.Lstat(filepath.Join(m.Dir(), path)); err == nil {
			t.Errorf("there is a %s", path)
		}
	}
}

// TestAddTaken adds a folder with a name that another has.
func TestAddTaken(t *testing.T) {
	m := mountNamespaces(t, nowhere)
	red := addFolder(t, m, "red")
	write(t, red.path("ssh"), "+192.0.2.1")
	_, err := m.Add("red")
	if err == nil || !strings.Contains(err.Error(), m.Dir()+`/ns: there is a folder "red" already`) {
		t.Errorf("Add: %v", err)
	}
	m.Remove("nosuch") // which is nothing
	if got := content(t, red.path("ssh")); got != "192.0.2.1" || list(t, m.Dir()+"/ns") != "dred" {
		t.Errorf("red's table has %q", got)
	}
}

// TestSelf follows the link from threads and from another process.
func TestSelf(t *testing.T) {
	m := mountNamespaces(t, func(pid uint32) string { return fmt.Sprint("of-", pid) })
	link := filepath.Join(m.Dir(), SelfName)
	const threads = 3
	done := make(chan error, threads)
	for range threads {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			target, err := os.Readlink(link)
			if want := fmt.Sprint("of-", unix.Gettid()); err == nil && target != want {
				err = fmt.Errorf("readlink: %s, want %s", target, want)
			}
			done <- err
		}()
	}
	for range threads {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for range 2 { // the second has what the kernel may remember of the first
		cmd := exec.Command("readlink", link)
		out, err := cmd.Output()
		if want := fmt.Sprintf("of-%d\n", cmd.Process.Pid); err != nil || string(out) != want {
			t.Errorf("readlink by a process: %q, %v; want %q", out, err, want)
		}
	}
}

// TestSelfLeads goes where the link leads.
func TestSelfLeads(t *testing.T) {
	var target atomic.Value
	m := mountNamespaces(t, func(uint32) string { return target.Load().(string) })
	red, blue := addFolder(t, m, "red"), addFolder(t, m, "blue")
	self := &shown{dir: filepath.Join(m.Dir(), SelfName)}
	for _, c := range []struct{ target, address, red, blue string }{
		{"ns/red", "192.0.2.1", "192.0.2.1", ""},
		{"ns/blue", "192.0.2.2", "192.0.2.1", "192.0.2.2"},
		{blue.dir, "192.0.2.3", "192.0.2.1", "192.0.2.2 192.0.2.3"},
	} {
		target.Store(c.target)
		write(t, self.path("ssh"), "+"+c.address)
		if r, b := content(t, red.path("ssh")), content(t, blue.path("ssh")); r != c.red || b != c.blue {
			t.Errorf("by way of %s: red has %q and blue %q, want %q and %q", c.target, r, b, c.red, c.blue)
		}
	}
	for _, nothing := range []string{"unmanaged", "ns/nosuch", "ns/red/nosuch"} {
		target.Store(nothing)
		if _, err := os.ReadFile(self.path("ssh")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("by way of %s: %v, want ENOENT", nothing, err)
		}
	}
}
