package state

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// TestMaxMemory starts a process with less memory than a table needs that was left in
// memory, or in a snapshot. It is refused, and the table stays for the next one.
func TestMaxMemory(t *testing.T) {
	params := recent.DefaultParams(recent.Classic)
	params.ListTot = 1000
	smaller := params
	smaller.ListTot = 10
	info := recent.Info{Name: "t", CheckSet: recent.Set, Mask: recent.AllOnes}
	for _, left := range []string{"in memory", "saved"} {
		t.Run(left, func(t *testing.T) {
			dir, saved := memoryDir(t), t.TempDir()
			open := func(most uint64, p recent.Params) (*host, *recent.Module, error) {
				t.Helper()
				h := &host{TB: t, time: jiffies.NewManual(2000, testHZ)}
				var err error
				if h.Dir, err = Open(dir, saved, h.time, func(text string) { h.warnings = append(h.warnings, text) }); err != nil {
					t.Fatal(err)
				}
				m, err := recent.NewModuleWithin(most, p, h.time)
				if err != nil {
					t.Fatal(err)
				}
				h.Registry = m.NewRegistryIn(h.Dir, nil)
				h.rules, err = h.CheckAll([]recent.Info{info})
				return h, m, err
			}
			used := func(m *recent.Module) uint64 {
				n, _ := m.Memory()
				return n
			}
			has := func(h *host) bool { return strings.HasPrefix(h.text("t"), "src=192.0.2.1 ") }
			h, m, err := open(0, params)
			if err != nil {
				t.Fatal(err)
			}
			h.write("t", "+192.0.2.1")
			all := used(m)
			if left == "saved" {
				if err := h.Save(h.Tables()); err != nil {
					t.Fatal(err)
				}
				h.Destroy(h.rules[0]) // it goes
			} else {
				h.stop()
			}
			before := files(t, dir)
			h, m, err = open(all-1, params)
			if !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "--max-memory") || used(m) != 0 || len(h.Tables()) != 0 {
				t.Fatalf("error %v, %d bytes are taken, %d tables", err, used(m), len(h.Tables()))
			}
			if now := files(t, dir); now != before || len(h.warnings) > 0 {
				t.Errorf("there were %s, and there are %s: %q", before, now, h.warnings)
			}
			if h, m, err = open(all, params); err != nil || used(m) != all || !has(h) {
				t.Fatalf("error %v, %d bytes are taken, want %d", err, used(m), all)
			}
			h.stop()
			if used(m) != 0 {
				t.Errorf("%d bytes are taken in the end", used(m))
			}
			if _, m, err = open(all/100, smaller); !errors.Is(err, unix.ENOMEM) || used(m) != 0 {
				t.Errorf("smaller, and too large: error %v, %d bytes are taken", err, used(m))
			}
			// A table that was too large may become smaller.
			if h, m, err = open(all/2, smaller); err != nil || !has(h) {
				t.Fatalf("smaller: error %v", err)
			}
			if is, few := used(m), all/10; is > few {
				t.Errorf("%d bytes are taken by a small table, want %d at most", is, few)
			}
			h.stop()
			if used(m) != 0 {
				t.Errorf("%d bytes are taken in the end", used(m))
			}
			if all, err := filepath.Glob(dir + "/*" + freshSuffix); len(all) > 0 || err != nil {
				t.Errorf("%q stay, %v", all, err)
			}
		})
	}
}
