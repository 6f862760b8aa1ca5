package mountlist

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// TestGetFails lists the mounts with too few descriptors: none is not an answer.
func TestGetFails(t *testing.T) {
	lab.FewDescriptors(t, func() error {
		list, err := Get(nil)
		if (err == nil) != (len(list) > 0) {
			t.Errorf("%d mounts, %v", len(list), err)
		}
		return err
	}, func(error) {})
}

// TestGetLong lists the mounts while the line of one is longer than the parser of
// mountinfo takes.
func TestGetLong(t *testing.T) {
	lab.NeedRoot(t)
	before := lab.TempDir(t)
	mount(t, "tmpfs", before)
	over := lab.TempDir(t)
	overlay(t, over)
	after := lab.TempDir(t)
	mount(t, "tmpfs", after)

	want := map[string]string{before: "tmpfs", over: "overlay", after: "tmpfs"}
	list, err := Get(func(m *mountinfo.Info) (skip, stop bool) { return want[m.Mountpoint] == "", false })
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.FSType != want[m.Mountpoint] {
			t.Errorf("%+v, want type %s", m, want[m.Mountpoint])
		}
		delete(want, m.Mountpoint)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	if _, err := mountinfo.GetMounts(nil); err == nil {
		t.Error("mountinfo itself takes such lines by now: use it again")
	}
}

func mount(t *testing.T, kind, dir string) {
	t.Helper()
	if err := unix.Mount("none", dir, kind, 0, ""); err != nil {
		t.Fatal(err)
	}
	unmountLater(t, dir)
}

func unmountLater(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// overlay mounts an overlay whose options are longer than 64 KB.
func overlay(t *testing.T, dir string) {
	t.Helper()
	layers := lab.TempDir(t)
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		t.Skip("this kernel has no overlay: ", err)
	}
	defer unix.Close(fd)
	for i := range 400 {
		layer := filepath.Join(layers, strings.Repeat("l", 200)+fmt.Sprint(i))
		if err := os.Mkdir(layer, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.FsconfigSetString(fd, "lowerdir+", layer); err != nil {
			t.Skip("this kernel's overlay takes its layers in one string, which is a page at most: ", err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		t.Fatal(err)
	}
	made, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(made)
	if err := unix.MoveMount(made, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal(err)
	}
	unmountLater(t, dir)
}
