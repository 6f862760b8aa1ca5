package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// TestReadOnly has the file system of the snapshots become read-only. They are read,
// and the tables go on.
func TestReadOnly(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(disk, unix.MNT_DETACH)
	saved := filepath.Join(disk, "host")
	now := boot{250, 1 << 20, time.Now()}
	unlock, err := Lock(disk)
	if err != nil {
		t.Fatal(err)
	}
	h := begin(t, saved, now, recent.Info{Name: "t"})
	h.write("t", "+192.0.2.1")
	h.save()
	if err := os.Chmod(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("while the directory is locked it cannot become read-only: %v", err)
	}
	if _, err := Lock(disk); err == nil || !strings.Contains(err.Error(), "another recentfs uses "+disk) {
		t.Errorf("another lock: %v", err)
	}
	unlock()
	if unlock, err = Lock(disk); err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for dir, want := range map[string]string{saved: "src=192.0.2.1 ", filepath.Join(disk, "new"): ""} {
		h := begin(t, dir, now, recent.Info{Name: "t"})
		if got := h.text("t"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: the table holds %q", dir, got)
		}
		if err := errors.Join(h.Save(h.Tables()), h.Forget(h.Tables(), time.Hour)); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: Save says %v", dir, err)
		}
	}
}
