package procnet

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// covers are the mounts of covers.
func covers(t *testing.T) (ids []int) {
	t.Helper()
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return !isOurs(m), false })
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		ids = append(ids, m.ID)
	}
	return ids
}

// TestAdopt goes on with the cover of a process before, if it is as its own would be.
func TestAdopt(t *testing.T) {
	lab.NeedRoot(t)
	dir := t.TempDir()
	tables, parameters := filepath.Join(dir, "tables"), []string{filepath.Join(dir, "ip_list_tot")}
	for _, c := range []struct {
		name       string
		tables     string
		parameters []string
		spoil      func() error
		adopts     bool
	}{
		{"the same", tables, parameters, func() error { return nil }, true},
		{"other tables", dir, parameters, func() error { return nil }, false},
		{"another parameter", tables, []string{filepath.Join(dir, "ip_list_uid")}, func() error { return nil }, false},
		{"a parameter elsewhere", tables, []string{"/ip_list_tot"}, func() error { return nil }, false},
		{"/proc/net is uncovered", tables, parameters, func() error { return unix.Unmount(procNet, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH) }, false},
		{"the directory is gone", tables, parameters, func() error { return unix.Unmount(tmpfsDir, unix.MNT_DETACH) }, false},
		{"another directory", tables, parameters, func() error { return unix.Mount(source, tmpfsDir, "tmpfs", 0, "") }, false},
		{"no cover", tables, parameters, Unmount, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Mount(tables, parameters); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := Unmount(); err != nil {
					t.Error(err)
				}
			}()
			if err := c.spoil(); err != nil {
				t.Fatal(err)
			}
			before := covers(t)
			cover, err := Adopt(c.tables, c.parameters)
			if err != nil || (cover != nil) != c.adopts {
				t.Fatalf("%v, %v", cover, err)
			}
			if after := covers(t); !slices.Equal(after, before) {
				t.Errorf("the mounts were %d, and are %d", before, after)
			}
			if cover == nil {
				return
			}
			if restored, err := cover.Restore(); restored || err != nil {
				t.Errorf("nobody has unmounted it: %t, %v", restored, err)
			}
			if err := unix.Unmount(procNet, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			if restored, err := cover.Restore(); !restored || err != nil {
				t.Errorf("somebody has unmounted it: %t, %v", restored, err)
			}
			if got := fmt.Sprint(Module()); got != dir {
				t.Errorf("the cover leads to %s, want %s", got, dir)
			}
		})
	}
}
