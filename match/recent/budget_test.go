package recent

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBudget makes tables and changes their size, with as much memory as that needs,
// and with a byte less. Then nothing has changed. In the end all is given back.
func TestBudget(t *testing.T) {
	const limit = 1000
	foot := func(limit, ring uint32) uint64 {
		h := newHeader(limit, ring)
		return h.footprint()
	}
	set := func(name string) []Info { return []Info{{Name: name, CheckSet: Set, Mask: AllOnes}} }
	hits := func(name string, n uint32) []Info {
		return []Info{{Name: name, CheckSet: Check, HitCount: n, Seconds: 1, Mask: AllOnes}}
	}
	one, wide := foot(limit, 32), foot(limit, 64) // stamps an address in Modern, for these rules
	for _, c := range []struct {
		name   string
		before []Info
		do     func(w *world) ([]*Rule, error)
		needs  uint64 // of the bound
		used   uint64 // in the end
		table  string // that the error names
		what   string // the numbers of the error
	}{
		{"a table", nil, func(w *world) ([]*Rule, error) { return w.CheckAll(set("t")) },
			one, one, "t", "1000 addresses of 32 stamps may take 298 KB, and 0 KB of the 297 KB of --max-memory are taken: lower ip_list_tot"},
		{"a second", set("t"), func(w *world) ([]*Rule, error) { return w.CheckAll(set("u")) },
			2 * one, 2 * one, "u", "298 KB, and 298 KB of the 595 KB"},
		{"the second of two", nil, func(w *world) ([]*Rule, error) { return w.CheckAll(append(set("t"), set("u")...)) },
			2 * one, 2 * one, "u", "298 KB, and 298 KB of the 595 KB"},
		{"in another namespace", set("t"), func(w *world) ([]*Rule, error) {
			other := *w
			other.Registry = w.module.NewRegistry(nil)
			rules, err := other.CheckAll(set("t"))
			for _, r := range rules {
				other.Destroy(r)
			}
			return nil, err
		}, 2 * one, one, "t", "298 KB, and 298 KB of the 595 KB"},
		{"wider for a rule", set("t"), func(w *world) ([]*Rule, error) { return w.CheckAll(hits("t", 60)) },
			one + wide, wide, "t", "1000 addresses of 64 stamps may take 549 KB, and 298 KB of the 846 KB"},
		{"wide enough for a rule", set("t"), func(w *world) ([]*Rule, error) { return w.CheckAll(hits("t", 10)) },
			one, one, "", ""},
		{"more addresses", set("t"), func(w *world) ([]*Rule, error) { return reloadTo(w, 2*limit, set("t")) },
			one + foot(2*limit, 32), foot(2*limit, 32), "t", "2000 addresses of 32 stamps may take 596 KB, and 298 KB of the 893 KB"},
		{"more addresses and stamps", set("t"), func(w *world) ([]*Rule, error) { return reloadTo(w, 2*limit, hits("t", 60)) },
			one + foot(2*limit, 64), foot(2*limit, 64), "t", "2000 addresses of 64 stamps"},
		// All fit in the end, though not meanwhile.
		{"fewer addresses", set("t"), func(w *world) ([]*Rule, error) { return reloadTo(w, limit/2, set("t")) },
			one, foot(limit/2, 32), "", ""},
		{"fewer addresses in two", append(set("t"), set("u")...), func(w *world) ([]*Rule, error) {
			return reloadTo(w, limit/2, append(set("t"), set("u")...))
		}, 2 * one, 2 * foot(limit/2, 32), "", ""},
		{"flushed", set("t"), func(w *world) ([]*Rule, error) {
			w.arrives(w.rules["t"], "192.0.2.1", 64)
			old := &w.Table("t").memory.Bytes()[0]
			if err := w.write("t", "/"); err != nil {
				return nil, err
			}
			if &w.Table("t").memory.Bytes()[0] == old {
				t.Error("the table was emptied in place, and packets waited")
			}
			return nil, nil
		}, one, one, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, less := range []uint64{0, 1} {
				if less > 0 && c.table == "" {
					break
				}
				w := newWorld(t, func(p *Params) { p.ListTot = limit }, Modern)
				w.module.budget.most = c.needs - less
				before, err := w.CheckAll(c.before)
				if err != nil {
					t.Fatal(err)
				}
				w.rules = make(map[string]*Rule)
				for _, r := range before {
					w.rules[r.table.name] = r
				}
				had, params := used(w), w.module.Params()
				rules, err := c.do(w)
				if less == 0 {
					if err != nil || used(w) != c.used {
						t.Fatalf("error %v, %d bytes are taken, want %d", err, used(w), c.used)
					}
				} else {
					failed := new(CheckError)
					if !errors.As(err, &failed) || failed.Table != c.table || !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), c.what) {
						t.Fatalf("error %v, want one of table %q: %q", err, c.table, c.what)
					}
					if used(w) != had || w.module.Params() != params || len(w.Tables()) != len(c.before) {
						t.Errorf("a refusal has changed %d bytes to %d", had, used(w))
					}
				}
				for _, r := range append(before, rules...) {
					w.Destroy(r)
				}
				if used(w) != 0 {
					t.Errorf("%d bytes are taken in the end", used(w))
				}
			}
		})
	}
}

func used(w *world) uint64 {
	n, _ := w.module.Memory()
	return n
}

// reloadTo changes the number of addresses that tables keep.
func reloadTo(w *world, limit uint32, infos []Info) ([]*Rule, error) {
	p := w.module.Params()
	p.ListTot = limit
	l, err := w.module.Reload(p)
	if err != nil {
		return nil, err
	}
	rules, err := l.CheckAll(w.Registry, infos)
	if err != nil {
		l.Cancel()
		return nil, err
	}
	l.Widen()
	l.Finish()
	return rules, nil
}

// TestBudgetCanceled takes reloads back that need twice the memory.
func TestBudgetCanceled(t *testing.T) {
	infos := []Info{{Name: "t", CheckSet: Set, Mask: AllOnes}, {Name: "u", CheckSet: Set, Mask: AllOnes}}
	w := newWorld(t, func(p *Params) { p.ListTot = 1000 }, Classic)
	if _, err := w.CheckAll(infos[:1]); err != nil {
		t.Fatal(err)
	}
	had := used(w)
	w.module.budget.most = 3 * had
	p := w.module.Params()
	p.ListTot = 1010
	for range 3 {
		l, err := w.module.Reload(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.CheckAll(w.Registry, append(infos, Info{Name: "v", CheckSet: Set, Mask: AllOnes})); !errors.Is(err, unix.ENOMEM) {
			t.Fatalf("error %v", err)
		}
		rules, err := l.CheckAll(w.Registry, infos[:1])
		if err != nil {
			t.Fatal(err)
		}
		l.Cancel()
		w.Destroy(rules[0])
		if used(w) != had {
			t.Fatalf("%d bytes are taken after Cancel, and %d before", used(w), had)
		}
	}
}

// TestBudgetWithoutMemory has no memory where the bound has room.
func TestBudgetWithoutMemory(t *testing.T) {
	w := newWorld(t, nil, Classic)
	w.Registry = w.module.NewRegistryIn(lessMemory(0), nil)
	_, err := w.CheckAll([]Info{{Name: "t", CheckSet: Set, Mask: AllOnes}})
	if !errors.Is(err, errGone) || used(w) != 0 {
		t.Errorf("error %v, %d bytes are taken", err, used(w))
	}
}

// counted is memory that counts the regions made, and how far they are in use.
type counted struct {
	Anonymous
	made     int
	reserved uint64
}

type countedMapping struct {
	Mapping
	memory *counted
}

func (c *counted) Make(size uint64) (Mapping, error) {
	m, err := c.Anonymous.Make(size)
	c.made++
	return countedMapping{m, c}, err
}

func (m countedMapping) Reserve(n uint64) (uint64, error) {
	m.memory.reserved = max(m.memory.reserved, n)
	return n, nil
}

// TestSpoofedAddresses has fifty times as many addresses come as a table keeps, each
// once. It stays within the memory that it counts.
func TestSpoofedAddresses(t *testing.T) {
	const limit = 1000
	w := newWorld(t, func(p *Params) { p.ListTot = limit }, Classic)
	memory := new(counted)
	w.Registry = w.module.NewRegistryIn(memory, nil)
	set := w.rule(Info{CheckSet: Set})
	had := used(w)
	for i := range 50 * limit {
		if w.clock.Set(w.clock.Now() + 1); i%2 == 0 {
			w.arrives(set, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), 64)
		} else {
			w.arrives(set, fmt.Sprintf("2001:db8::%x", i), 64)
		}
	}
	h := w.Table("t").header
	if h.entries != limit || h.used != limit {
		t.Errorf("%d addresses in %d slots", h.entries, h.used)
	}
	if memory.made != 1 || memory.reserved > h.size() || used(w) != had || had != h.footprint() {
		t.Errorf("%d regions of %d bytes, %d counted, and %d at first", memory.made, memory.reserved, used(w), had)
	}
}
