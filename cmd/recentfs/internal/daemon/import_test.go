package daemon

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/cmd/recentfs/internal/exchange"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// machine is tables on a machine with a clock of its own.
type machine struct {
	*recent.Registry
	clock *jiffies.Manual
	wall  jiffies.Wall
}

// newMachine makes the table T. noon is when the clock shows what it shows.
func newMachine(t *testing.T, now jiffies.Jiffies, hz, limit, stamps uint32, noon time.Time) *machine {
	t.Helper()
	p := recent.DefaultParams(recent.Classic)
	p.ListTot, p.PktListTot = limit, stamps
	m := &machine{clock: jiffies.NewManual(now, hz), wall: jiffies.Wall{HZ: hz, At: now, Time: noon}}
	module, err := recent.NewModule(p, m.clock)
	if err != nil {
		t.Fatal(err)
	}
	m.Registry = module.NewRegistry(nil)
	rules, err := m.CheckAll([]recent.Info{{CheckSet: recent.Set, Name: "T", Mask: recent.AllOnes}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Destroy(rules[0]) })
	return m
}

// export is what `export` prints.
func (m *machine) export(t *testing.T) string {
	t.Helper()
	text := make([]byte, 1<<24)
	n, c := 0, m.Table("T").Cursor()
	for {
		more, err := c.ReadAt(text[n:], int64(n))
		if err != nil {
			t.Fatal(err)
		}
		if more == 0 {
			break
		}
		n += more
	}
	var out strings.Builder
	if _, err := exchange.Export(&out, "T", strings.NewReader(string(text[:n])), m.wall); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// bodyOf is what `import` sends of a file.
func bodyOf(t *testing.T, text string) io.Reader {
	t.Helper()
	var l exchange.Load
	if err := l.Begin(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.Read("-", strings.NewReader(text), time.Now()); err != nil {
		t.Fatal(err)
	}
	body, _, err := l.Body()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// load is what `import` does.
func (m *machine) load(t *testing.T, text string) (told string) {
	t.Helper()
	into := loading{registry: m.Registry, wall: m.wall}
	var b strings.Builder
	if err := errors.Join(exchange.Decode(bodyOf(t, text), into.begin, into.add), into.flush(), into.tell(&b)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestExportImport takes a table from a machine to another one, whose clock has other
// ticks, and back. What can be the same is the same.
func TestExportImport(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 7654321, time.UTC)
	for _, c := range []struct {
		name    string
		hz      uint32 // of the second machine; the first has 250
		now     jiffies.Jiffies
		same    bool   // no time is rounded
		limit   uint32 // addresses
		stamps  uint32
		entries int
	}{
		{"the same clock", 250, 1 << 33, true, 1000, 20, 1000},
		{"another boot", 250, 1<<32 - 75000, true, 1000, 20, 1000},
		{"more ticks", 1000, 1 << 32, true, 1000, 20, 1000},
		{"fewer ticks", 100, 1 << 32, false, 1000, 20, 1000},
		{"ticks that do not fit", 300, 1 << 32, false, 1000, 20, 1000},
		{"fewer addresses", 1000, 1 << 32, true, 100, 20, 100},
		{"fewer stamps", 1000, 1 << 32, true, 1000, 7, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			first := newMachine(t, 1<<33, 250, 1000, 20, noon)
			for range 15000 {
				first.clock.Set(first.clock.Now() + jiffies.Jiffies(random.IntN(3)))
				if _, _, err := first.Table("T").Write(fmt.Appendf(nil, "+10.0.%d.%d", random.IntN(4), random.IntN(250)), 0); err != nil {
					t.Fatal(err)
				}
			}
			second := newMachine(t, c.now, c.hz, c.limit, c.stamps, noon)
			second.clock.Set(c.now + 1<<20) // no time is of the future
			sent := first.export(t)
			told := second.load(t, sent)
			if strings.Contains(told, "later than now") || !strings.HasPrefix(told, "T: 1000 addresses read: 1000 new, 0 changed, 0 as they were\n") {
				t.Errorf("it says %q", told)
			}
			received := second.export(t)
			if again := second.load(t, sent); second.export(t) != received || c.entries == 1000 && !strings.Contains(again, " 0 new, 0 changed, 1000 as they were") {
				t.Errorf("a second import changes the table: %q", again)
			}
			want := newest(t, sent, c.entries, int(c.stamps))
			if got := newest(t, received, c.entries, int(c.stamps)); c.same && got != want {
				t.Errorf("it has\n%.500s, want\n%.500s", got, want)
			}
			if n := strings.Count(received, "\n"); n != c.entries {
				t.Errorf("it has %d addresses, want %d", n, c.entries)
			}
			if n := strings.Count(received, ","); n != strings.Count(want, ",") {
				t.Errorf("it has %d fields and times, want %d", n, strings.Count(want, ","))
			}
			if c.same && c.entries == 1000 && c.stamps == 20 {
				if back := first.load(t, received); !strings.Contains(back, " 0 new, 0 changed, 1000 as they were") {
					t.Errorf("back on the first machine: %q", back)
				}
			}
		})
	}
}

// newest are the lines that fit into a table, in the order of their newest times.
func newest(t *testing.T, text string, entries, stamps int) string {
	t.Helper()
	var lines []string
	err := exchange.Decode(bodyOf(t, text), func([]string) error { return nil }, func(r *exchange.Record) error {
		lines = append(lines, fmt.Sprint(r.Address, r.TTL, ",,,", strings.ReplaceAll(fmt.Sprint(r.Times[max(0, len(r.Times)-stamps):]), " ", ","), "\n"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines[max(0, len(lines)-entries):], "")
}

// TestImportTells has a machine whose clock is behind, and one that is full.
func TestImportTells(t *testing.T) {
	noon := time.Unix(1767268800, 0)
	for _, c := range []struct{ name, text, want string }{
		{"one", `{"table":"T","address":"::1","times":[1]}`, "T: 1 address read: 1 new, 0 changed, 0 as they were\n"},
		{"the future", `{"table":"T","address":"::1","times":[1,1767268801,1767268900]}`, "2 times later than now: they count as now. "},
		{"too many", `{"table":"T","address":"::1","times":[1]}` + "\n" + `{"table":"T","address":"::2","times":[1767268000]}` + "\n" + `{"table":"T","address":"::3"}`,
			"T: 3 addresses read: 3 new, 0 changed, 0 as they were\nT: no room for all: 1 address seen least recently left out\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, 1<<32, 100, 2, 5, noon)
			if got := m.load(t, c.text); !strings.Contains(got, c.want) {
				t.Errorf("it says %q, want %q", got, c.want)
			}
		})
	}
}

// TestImportRefused has a running server refuse what it cannot import.
func TestImportRefused(t *testing.T) {
	lab.NeedRoot(t)
	const seen = `{"tables":["seen"]}` + "\n"
	record := func(table string) string { return `{"table":"` + table + `","address":"::1"}` + "\n" }
	s := newConfig(t, nil, noQueue).start(t, io.Discard)
	for _, c := range []struct {
		name, netns, body string
		status            int
		want              string
		addresses         int // in the table afterwards
	}{
		{"one", "", seen + record("seen"), 0, "", 1},
		{"no such tables", "", `{"tables":["a","seen","b"]}` + "\n" + record("seen"), http.StatusNotFound,
			"there is no table \"a\": a table is there as long as a rule names it; --table names another one\nthere is no table \"b\"", 0},
		{"no such namespace", "red", seen + record("seen"), http.StatusNotFound, "network namespace red is not served here", 0},
		{"a table that was not named", "", seen + record("seen") + record("other"), http.StatusBadRequest, `table "other" is not among those that were named first: 1 address before that were imported`, 1},
		{"a bad record", "", seen + record("seen") + "x\n", http.StatusBadRequest, "line 3: ", 0},
		{"a line without end", "", seen + record("seen") + strings.Repeat("x", 5<<20), http.StatusBadRequest, "line 3: it has more than 4194304 bytes", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := tableIn(t, s, "", "seen").Write([]byte("/"), 0); err != nil {
				t.Fatal(err)
			}
			err := s.Import(io.Discard, strings.NewReader(c.body), c.netns, os.Getpid())
			status := 0
			if known := new(control.Error); errors.As(err, &known) {
				status = known.Status
			}
			if status != c.status || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("status %d, %v, want %d, %s", status, err, c.status, c.want)
			}
			if n := addresses(t, s, "", "seen"); n != c.addresses {
				t.Errorf("the table has %d addresses, want %d", n, c.addresses)
			}
		})
	}
}
