package fs

import (
	"fmt"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// finds looks for something at work on a mount, or for nothing.
func (h *shown) finds(t *testing.T, something bool) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("something is at work: %t", something), func() error {
		var all []string
		for what, number := range h.m.AtWork {
			all = append(all, fmt.Sprint(what, " ", number))
		}
		if something != (len(all) > 0) {
			return fmt.Errorf("%q", all)
		}
		return nil
	})
}

// TestAtWork has a program wait for an answer: on a mount, and on the one that takes its
// place.
func TestAtWork(t *testing.T) {
	h := mount(t, recent.DefaultParams(recent.Classic))
	for _, again := range []bool{false, true} {
		if again {
			umount(t, h.dir, 0)
			h.restore(t)
		}
		h.finds(t, false)
		fs := h.m.fs
		fs.mu.Lock()
		cmd := exec.Command("stat", h.dir+"/nothing")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		h.finds(t, true)
		fs.mu.Unlock()
		_ = cmd.Wait() // there is no such file
		h.finds(t, false)
	}
	umount(t, h.dir, unix.MNT_DETACH)
	<-h.m.Ended()
	h.finds(t, false)
}
