package state

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

const testHZ = 250

// host is a registry over a Live directory, as a process has it.
type host struct {
	testing.TB
	*recent.Registry
	*Dir
	time     *jiffies.Manual
	warnings []string
	rules    []*recent.Rule
}

// start is a process that begins with the directory as it is.
func start(t *testing.T, dir string, now jiffies.Jiffies, p recent.Params, infos ...recent.Info) *host {
	fail := func(err error) {
		if t == nil {
			panic(err)
		}
		t.Helper()
		t.Fatal(err)
	}
	h := &host{TB: t, time: jiffies.NewManual(now, testHZ)}
	var err error
	h.Dir, err = Open(dir, dir+"/saved", h.time, func(text string) { h.warnings = append(h.warnings, text) })
	if err != nil {
		fail(err)
	}
	m, err := recent.NewModule(p, h.time)
	if err != nil {
		fail(err)
	}
	h.Registry = m.NewRegistryIn(h.Dir, nil)
	for i := range infos {
		infos[i].CheckSet |= recent.Set
		infos[i].Mask = recent.AllOnes
	}
	if h.rules, err = h.CheckAll(infos); err != nil {
		fail(err)
	}
	return h
}

// stop is the end of a process that leaves its tables.
func (h *host) stop() {
	h.Leave()
	for _, r := range h.rules {
		h.Destroy(r)
	}
}

func (h *host) write(table, text string) {
	h.Helper()
	h.time.Set(h.time.Now() + 1)
	if _, _, err := h.Table(table).Write([]byte(text), 0); err != nil {
		h.Fatal(err)
	}
}

func (h *host) text(table string) string {
	h.Helper()
	c := h.Table(table).Cursor()
	defer c.Close()
	text, err := io.ReadAll(io.NewSectionReader(readerAt{c}, 0, 1<<30))
	if err != nil {
		h.Fatal(err)
	}
	return string(text)
}

// lines are the lines of the text, sorted.
func (h *host) lines(table string) string {
	all := slices.Sorted(strings.Lines(h.text(table)))
	return strings.Join(all, "")
}

// readerAt is a cursor whose end is an error, as io.ReaderAt has it.
type readerAt struct{ *recent.Cursor }

func (r readerAt) ReadAt(p []byte, pos int64) (int, error) {
	n, err := r.Cursor.ReadAt(p, pos)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// memoryDir is a directory in memory.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "recentfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// files are the names of the files in a directory.
func files(t *testing.T, dir string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i] = filepath.Base(all[i])
	}
	return strings.Join(all, " ")
}

// TestNextProcess has a process find what the one before it has left.
func TestNextProcess(t *testing.T) {
	params := recent.DefaultParams(recent.Classic)
	params.ListTot, params.PktListTot = 4, 3
	for _, c := range []struct {
		name   string
		before func(h *host)
		change func(p *recent.Params)
		want   string // the table's text, stamps less 1000
	}{
		{"as it was", func(h *host) { h.write("t", "+192.0.2.1"); h.write("t", "+2001:db8::1"); h.write("t", "+192.0.2.1") }, nil,
			"192.0.2.1 2: 1 3\n2001:0db8:0000:0000:0000:0000:0000:0001 1: 2\n"},
		{"flushed", func(h *host) { h.write("t", "+192.0.2.1"); h.write("t", "/") }, nil, ""},
		{"flushed and filled", func(h *host) { h.write("t", "+192.0.2.1"); h.write("t", "/"); h.write("t", "+192.0.2.2") }, nil, "192.0.2.2 1: 3\n"},
		{"fewer addresses", func(h *host) { h.write("t", "+192.0.2.1"); h.write("t", "+192.0.2.2"); h.write("t", "+192.0.2.3") },
			func(p *recent.Params) { p.ListTot = 2 }, "192.0.2.2 1: 2\n192.0.2.3 1: 3\n"},
		{"fewer stamps", func(h *host) { h.write("t", "+192.0.2.1"); h.write("t", "+192.0.2.1"); h.write("t", "+192.0.2.1") },
			func(p *recent.Params) { p.PktListTot = 2 }, "192.0.2.1 2: 2 3\n"},
		{"more of both", func(h *host) { h.write("t", "+192.0.2.1"); h.write("t", "+192.0.2.1") },
			func(p *recent.Params) { p.ListTot, p.PktListTot = 1000, 20 }, "192.0.2.1 2: 1 2\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := memoryDir(t)
			h := start(t, dir, 1000, params, recent.Info{Name: "other"}, recent.Info{Name: "t"})
			c.before(h)
			id := h.Table("t").ID()
			if err := h.Table("t").Chattr(func(a *recent.Attr) { a.Perms = 0o600 }); err != nil {
				t.Fatal(err)
			}
			h.stop()
			next := params
			if c.change != nil {
				c.change(&next)
			}
			h = start(t, dir, 2000, next, recent.Info{Name: "t"})
			if got := brief(h.text("t")); got != c.want {
				t.Errorf("the table holds\n%s, want\n%s", got, c.want)
			}
			if got := h.Table("t"); got.ID() != id || got.Attr().Perms != 0o600 {
				t.Errorf("table %d with %o, want %d with 600", got.ID(), got.Attr().Perms, id)
			}
			if err := h.Clean(h.Tables()); err != nil {
				t.Fatal(err)
			}
			if got := files(t, dir); got != "saved t.table" || len(h.warnings) > 0 {
				t.Errorf("left are %q, and warnings %q", got, h.warnings)
			}
			h.Destroy(h.rules[0])
			if got := files(t, dir); got != "saved" {
				t.Errorf("of a table that is gone %q stays", got)
			}
		})
	}
}

// TestRemoved removes the directory in memory of tables that are in use. A table of a
// new rule has its file there again.
func TestRemoved(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "live/host")
	h := start(t, dir, 1000, recent.DefaultParams(recent.Classic), recent.Info{Name: "t"})
	if err := h.Check(h.Tables()); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	if err := h.Check(h.Tables()); err == nil || !strings.Contains(err.Error(), "table t has lost its file in memory") {
		t.Errorf("Check says %v", err)
	}
	if _, err := h.CheckAll([]recent.Info{{Name: "new", CheckSet: recent.Set, Mask: recent.AllOnes}}); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); got != "new.table" {
		t.Errorf("there are %q", got)
	}
}

// brief is a table's text with addresses, the place after the newest stamp, and
// stamps less 1000.
func brief(text string) (b string) {
	for line := range strings.Lines(text) {
		head, stamps, _ := strings.Cut(strings.TrimSpace(line), " oldest_pkt: ")
		address, _, _ := strings.Cut(strings.TrimPrefix(head, "src="), " ")
		at, stamps, _ := strings.Cut(stamps, " ")
		b += address + " " + at + ":"
		for stamp := range strings.SplitSeq(stamps, ", ") {
			var n int
			fmt.Sscan(stamp, &n)
			b += fmt.Sprint(" ", n-1000)
		}
		b += "\n"
	}
	return b
}
