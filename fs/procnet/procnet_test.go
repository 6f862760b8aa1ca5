package procnet

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// entries are the names in a directory.
func entries(t *testing.T, dir string) map[string]bool {
	t.Helper()
	set, err := names(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestCover covers /proc/net twice, and uncovers it.
func TestCover(t *testing.T) {
	lab.NeedRoot(t)
	before := entries(t, procNet)
	link, err := os.Readlink(procNet)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tables := filepath.Join(dir, "tables")
	if err := os.Mkdir(tables, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tables, "ssh"), []byte("src=192.0.2.1"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{filepath.Join(dir, "old"), tables} { // the second replaces the first
		c, err := Mount(old, []string{filepath.Join(dir, "ip_list_tot")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := Unmount(); err != nil {
				t.Error(err)
			}
		})
		if err := c.Refresh(); err != nil {
			t.Errorf("Refresh: %v", err)
		}
	}
	for _, name := range []string{"xt_recent", "ipt_recent"} {
		if text, err := os.ReadFile(filepath.Join(procNet, name, "ssh")); err != nil || string(text) != "src=192.0.2.1" {
			t.Errorf("%s/ssh has %q, %v", name, text, err)
		}
	}
	covered := entries(t, procNet)
	for name := range before {
		if !covered[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if text, err := os.ReadFile(procNet + "/dev"); err != nil || len(text) == 0 {
		t.Errorf("dev has %q, %v", text, err)
	}
	if got := Module(); got != dir {
		t.Errorf("the cover leads to the module %q, want %q", got, dir)
	}
	if err := Unmount(); err != nil {
		t.Fatal(err)
	}
	if got := Module(); got != "" {
		t.Errorf("without a cover the module is %q", got)
	}
	if _, err := os.Readlink(filepath.Join(netDir, "xt_recent")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the links are still there: %v", err)
	}
	if now, err := os.Readlink(procNet); err != nil || now != link {
		t.Errorf("%s leads to %q, %v; want %q", procNet, now, err, link)
	}
}

// TestRefresh has an entry that /proc/net does not have, and misses one.
func TestRefresh(t *testing.T) {
	lab.NeedRoot(t)
	c, err := Mount("/nowhere", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer Unmount()
	if err := os.Remove(netDir + "/dev"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", netDir+"/gone"); err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(); err != nil {
		t.Fatal(err)
	}
	if now := entries(t, procNet); !now["dev"] || now["gone"] || !now["xt_recent"] {
		t.Errorf("after Refresh: dev %v, gone %v, xt_recent %v", now["dev"], now["gone"], now["xt_recent"])
	}
}
