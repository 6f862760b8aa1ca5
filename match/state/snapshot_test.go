package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// boot is what a machine begins with: its clocks, and whatever is in saved.
type boot struct {
	hz   uint32
	now  jiffies.Jiffies
	wall time.Time
}

// begin is the first process after a boot, whose tmpfs is empty.
func begin(t *testing.T, saved string, b boot, infos ...recent.Info) *host {
	t.Helper()
	return beginIn(t, memoryDir(t), saved, b, infos...)
}

func beginIn(t testing.TB, live, saved string, b boot, infos ...recent.Info) *host {
	t.Helper()
	h := &host{TB: t, time: jiffies.NewManual(b.now, b.hz)}
	var err error
	h.Dir, err = Open(live, saved, h.time, func(text string) { h.warnings = append(h.warnings, text) })
	if err != nil {
		t.Fatal(err)
	}
	h.Dir.now = func() time.Time { return b.wall.Add(jiffies.Duration(h.time.Now().Sub(b.now), b.hz)) }
	m, err := recent.NewModule(recent.DefaultParams(recent.Classic), h.time)
	if err != nil {
		t.Fatal(err)
	}
	h.Registry = m.NewRegistryIn(h.Dir, nil)
	for i := range infos {
		infos[i].CheckSet, infos[i].Mask = recent.Set, recent.AllOnes
	}
	if h.rules, err = h.CheckAll(infos); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) save() {
	h.Helper()
	if err := h.Save(h.Tables()); err != nil {
		h.Fatal(err)
	}
}

// TestNextBoot has a boot begin with the snapshots of the one before it.
func TestNextBoot(t *testing.T) {
	monday := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	first := boot{250, 1000 * 250, monday}
	for _, c := range []struct {
		name string
		next boot
		want []int64 // the ages of the stamps in ticks of the next boot: they were 0, 250 and 2500
	}{
		{"at once", boot{250, 5, monday}, []int64{0, 250, 2500}},
		{"an hour later", boot{250, 1 << 20, monday.Add(time.Hour)}, []int64{900000, 900250, 902500}},
		{"with a faster clock", boot{1000, 1 << 20, monday.Add(time.Second)}, []int64{1000, 2000, 11000}},
		{"with a slower clock", boot{100, 1 << 20, monday}, []int64{0, 100, 1000}},
		{"across the wrap of jiffies", boot{250, 1<<64 - 1, monday}, []int64{0, 250, 2500}},
		{"the wall clock went back", boot{250, 1 << 20, monday.Add(-time.Hour)}, []int64{0, 250, 2500}},
		{"a year later", boot{250, 1 << 40, monday.AddDate(1, 0, 0)}, []int64{oldest, oldest, oldest}},
	} {
		t.Run(c.name, func(t *testing.T) {
			saved := t.TempDir()
			h := begin(t, saved, first, recent.Info{Name: "t"}, recent.Info{Name: "empty"})
			for _, age := range []jiffies.Jiffies{2500, 250, 0} {
				h.time.Set(first.now - age - 1)
				h.write("t", "+192.0.2.1")
			}
			h.save()
			h = begin(t, saved, c.next, recent.Info{Name: "t"}, recent.Info{Name: "empty"})
			_, list, _ := strings.Cut(strings.TrimSpace(h.text("t")), "oldest_pkt: 3 ")
			var got []int64
			for text := range strings.SplitSeq(list, ", ") {
				var stamp jiffies.Jiffies
				fmt.Sscan(text, &stamp)
				got = append([]int64{c.next.now.Sub(stamp)}, got...)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) || h.text("empty") != "" || len(h.warnings) > 0 {
				t.Errorf("the ages are %d, want %d; warnings %q", got, c.want, h.warnings)
			}
		})
	}
}

// TestSave writes snapshots of what has changed, and of nothing else.
func TestSave(t *testing.T) {
	saved := t.TempDir()
	h := begin(t, saved, boot{250, 1 << 20, time.Now()}, recent.Info{Name: "a"}, recent.Info{Name: "b"})
	h.write("a", "+192.0.2.1")
	h.save()
	before, err := os.Stat(h.path("a"))
	if err != nil {
		t.Fatal(err)
	}
	h.write("b", "+192.0.2.1")
	h.save()
	if after, err := os.Stat(h.path("a")); err != nil || !os.SameFile(before, after) {
		t.Errorf("a table that had not changed was saved again: %v", err)
	}
	if got, want := files(t, saved), "a.snapshot b.snapshot b.snapshot~"; got != want {
		t.Errorf("there are %q, want %q", got, want)
	}
	if before.Mode() != 0o600 {
		t.Errorf("a snapshot has mode %o", before.Mode())
	}
	h.Destroy(h.rules[0])
	rules, err := h.CheckAll([]recent.Info{{Name: "a", CheckSet: recent.Set, Mask: recent.AllOnes}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(h.text("a"), "src=192.0.2.1 ") {
		t.Errorf("a table whose rule came back holds %q", h.text("a"))
	}
	h.Destroy(rules[0])

	const month = 30 * 24 * time.Hour
	for _, c := range []struct {
		later time.Duration
		want  string
	}{
		{month - time.Minute, "a.snapshot b.snapshot b.snapshot~"},
		{month, "b.snapshot b.snapshot~"}, // whose time was renewed
	} {
		h.now = func() time.Time { return before.ModTime().Add(c.later + time.Second) }
		if err := h.Forget(h.Tables(), month); err != nil {
			t.Fatal(err)
		}
		if got := files(t, saved); got != c.want {
			t.Errorf("after %v there are %q, want %q", c.later, got, c.want)
		}
	}
}

// TestSaveFails has no place for snapshots. The tables go on, and so does what was
// saved before.
func TestSaveFails(t *testing.T) {
	saved := t.TempDir()
	if err := unix.Mount("tmpfs", saved, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(saved, unix.MNT_DETACH)
	h := begin(t, saved, boot{250, 1 << 20, time.Now()}, recent.Info{Name: "t"})
	h.write("t", "+192.0.2.1")
	h.save()
	if err := os.WriteFile(filepath.Join(saved, "other"), make([]byte, 56<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 90 {
		h.write("t", fmt.Sprintf("+192.0.2.%d", i))
	}
	if err := h.Save(h.Tables()); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "table t") {
		t.Errorf("on a full disk the error is %v", err)
	}
	if got, want := files(t, saved), "other t.snapshot"; got != want {
		t.Errorf("there are %q, want %q", got, want)
	}
	if err := os.Remove(filepath.Join(saved, "other")); err != nil {
		t.Fatal(err)
	}
	h.save()
}

// TestSaveAgain has the directory of the snapshots go, and the one above it come back.
func TestSaveAgain(t *testing.T) {
	above := filepath.Join(t.TempDir(), "state")
	saved := filepath.Join(above, "host")
	h := begin(t, saved, boot{250, 1 << 20, time.Now()}, recent.Info{Name: "t"})
	h.write("t", "+192.0.2.1")
	h.save()
	if err := os.RemoveAll(above); err != nil {
		t.Fatal(err)
	}
	if err := h.Save(h.Tables()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the directory above the error is %v", err)
	}
	if err := os.Mkdir(above, 0o700); err != nil {
		t.Fatal(err)
	}
	h.save()
	if got := files(t, saved); got != "t.snapshot" {
		t.Errorf("there are %q", got)
	}
}

// TestDamaged damages the last snapshot, and then both. What is used is a snapshot
// as it was written, or nothing.
func TestDamaged(t *testing.T) {
	saved := t.TempDir()
	now := boot{250, 1 << 20, time.Now()}
	h := begin(t, saved, now, recent.Info{Name: "t"})
	h.write("t", "+192.0.2.1")
	h.save()
	first := h.text("t")
	h.write("t", "+2001:db8::1")
	h.write("t", "+192.0.2.1")
	h.save()
	last := h.text("t")
	now.now, now.wall = h.time.Now(), h.Dir.now() // no time passes: the stamps stay
	lastBytes, err := os.ReadFile(h.path("t"))
	if err != nil {
		t.Fatal(err)
	}
	firstBytes, err := os.ReadFile(h.path("t") + beforeSuffix)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		damage := damages[i%len(damages)]
		dir := t.TempDir()
		path := filepath.Join(dir, "t"+savedSuffix)
		put := func(path string, text []byte) {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put(path, damage.do(append([]byte(nil), lastBytes...), random))
		put(path+beforeSuffix, firstBytes)
		want := first
		if i%3 == 0 {
			put(path+beforeSuffix, damage.do(append([]byte(nil), firstBytes...), random))
			want = ""
		}
		h := begin(t, dir, now, recent.Info{Name: "t"})
		if got := h.text("t"); got != want {
			t.Fatalf("%s: the table holds\n%swant\n%s(undamaged it were\n%s)", damage.name, got, want, last)
		}
		if len(h.warnings) == 0 || !strings.Contains(h.warnings[0], path) {
			t.Fatalf("%s: the warnings are %q", damage.name, h.warnings)
		}
		if bad, _ := filepath.Glob(path + badInfix + "*"); len(bad) != 1 {
			t.Fatalf("%s: it was not set aside", damage.name)
		}
		h.Destroy(h.rules[0])
	}
}

var damages = []struct {
	name string
	do   func(b []byte, random *rand.Rand) []byte
}{
	{"a bit is flipped", func(b []byte, random *rand.Rand) []byte {
		b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		return b
	}},
	{"truncated", func(b []byte, random *rand.Rand) []byte { return b[:random.IntN(len(b))] }},
	{"longer", func(b []byte, random *rand.Rand) []byte { return append(b, make([]byte, 1+random.IntN(5000))...) }},
	{"zeroes to the end", func(b []byte, random *rand.Rand) []byte {
		clear(b[random.IntN(len(b)-4):])
		return b
	}},
	{"a block of other bytes", func(b []byte, random *rand.Rand) []byte {
		at := random.IntN(len(b) - 64)
		for i := range b[at : at+64] {
			b[at+i] = ^b[at+i]
		}
		return b
	}},
	{"torn: the half of another", func(b []byte, random *rand.Rand) []byte {
		half := len(b) / 2
		for i := range b[half:] {
			b[half+i] += byte(1 + random.IntN(255))
		}
		return b
	}},
	{"of a newer version", func(b []byte, random *rand.Rand) []byte {
		b[8] = 2
		return b
	}},
}
