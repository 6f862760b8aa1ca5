package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"recentfs/match/recent"
)

// TestForgetBad has files that were set aside grow old, whose table is in use.
func TestForgetBad(t *testing.T) {
	saved, now := t.TempDir(), time.Now()
	h := begin(t, saved, boot{250, 1 << 20, now}, recent.Info{Name: "t"}, recent.Info{Name: "a.table.bad-b"})
	h.save()
	for _, dir := range []string{saved, h.live.dir} {
		path := filepath.Join(dir, "new"+map[bool]string{true: savedSuffix, false: tableSuffix}[dir == saved])
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		old := now.AddDate(-1, 0, 0)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	rules, err := h.CheckAll([]recent.Info{{Name: "new", CheckSet: recent.Set, Mask: recent.AllOnes}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Destroy(rules[0])
	if len(h.warnings) != 2 || !strings.Contains(h.warnings[0], "new.table cannot be used: it is empty") {
		t.Errorf("warnings %q", h.warnings)
	}
	for _, c := range []struct {
		later time.Duration
		bad   int
	}{{59 * time.Minute, 1}, {61 * time.Minute, 0}} {
		h.now = func() time.Time { return now.Add(c.later) }
		if err := h.Forget(h.Tables(), time.Hour); err != nil {
			t.Fatal(err)
		}
		for dir, want := range map[string]string{saved: "a.table.bad-b.snapshot t.snapshot", h.live.dir: "a.table.bad-b.table new.table t.table"} {
			got := files(t, dir)
			if n := strings.Count(got, "new.") - strings.Count(want, "new."); n != c.bad {
				t.Errorf("after %v %s has %q", c.later, dir, got)
			}
			if c.bad == 0 && got != want {
				t.Errorf("after %v %s has %q, want %q", c.later, dir, got, want)
			}
		}
	}
}
