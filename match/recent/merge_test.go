package recent

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"recentfs/match/jiffies"
)

// TestMerge merges into a table that has 192.0.2.1, seen at 1000, 1000 and 1010, and
// 192.0.2.2, seen at 1005.
func TestMerge(t *testing.T) {
	j := func(s ...jiffies.Jiffies) []jiffies.Jiffies { return s }
	for _, c := range []struct {
		name string
		adds []modelEntry
		want string // the entries
		m    Merged
	}{
		{"an older address", []modelEntry{{"192.0.2.9", 7, j(1, 2)}},
			"[{192.0.2.9 7 [1 2]} {192.0.2.2 64 [1005]} {192.0.2.1 64 [1000 1000 1010]}]", Merged{New: 1}},
		{"one in between", []modelEntry{{"192.0.2.9", 7, j(1, 1007)}},
			"[{192.0.2.2 64 [1005]} {192.0.2.9 7 [1 1007]} {192.0.2.1 64 [1000 1000 1010]}]", Merged{New: 1}},
		{"more stamps than fit", []modelEntry{{"192.0.2.9", 7, j(1, 2, 3, 4, 5)}},
			"[{192.0.2.9 7 [2 3 4 5]} {192.0.2.2 64 [1005]} {192.0.2.1 64 [1000 1000 1010]}]", Merged{New: 1}},
		{"the same", []modelEntry{{"192.0.2.1", 7, j(1000, 1000, 1010)}},
			"[{192.0.2.2 64 [1005]} {192.0.2.1 64 [1000 1000 1010]}]", Merged{Same: 1}},
		{"twice as often", []modelEntry{{"192.0.2.2", 7, j(1005, 1005)}},
			"[{192.0.2.2 64 [1005 1005]} {192.0.2.1 64 [1000 1000 1010]}]", Merged{Changed: 1}},
		{"older and newer ones", []modelEntry{{"192.0.2.2", 7, j(7, 1005, 1019)}},
			"[{192.0.2.1 64 [1000 1000 1010]} {192.0.2.2 7 [7 1005 1019]}]", Merged{Changed: 1}},
		{"older ones that do not fit", []modelEntry{{"192.0.2.1", 7, j(1, 2, 3)}},
			"[{192.0.2.2 64 [1005]} {192.0.2.1 64 [3 1000 1000 1010]}]", Merged{Changed: 1}},
		{"the future", []modelEntry{{"192.0.2.9", 7, j(1, 1021, 5000)}},
			"[{192.0.2.2 64 [1005]} {192.0.2.1 64 [1000 1000 1010]} {192.0.2.9 7 [1 1020 1020]}]", Merged{New: 1, Late: 2}},
		{"no time", []modelEntry{{"192.0.2.1", 7, nil}, {"192.0.2.9", 7, nil}},
			"[{192.0.2.2 64 [1005]} {192.0.2.1 64 [1000 1000 1010]} {192.0.2.9 7 [1020]}]", Merged{New: 1, Same: 1}},
		{"too many", []modelEntry{{"192.0.2.7", 7, j(1)}, {"192.0.2.8", 7, j(2)}, {"192.0.2.9", 7, j(3)}, {"192.0.2.6", 7, j(1)}},
			"[{192.0.2.9 7 [3]} {192.0.2.2 64 [1005]} {192.0.2.1 64 [1000 1000 1010]}]", Merged{New: 3, Gone: 3}},
		{"a full table, an address that is there", []modelEntry{{"::1", 7, j(1)}, {"192.0.2.2", 7, j(1011)}},
			"[{::1 7 [1]} {192.0.2.1 64 [1000 1000 1010]} {192.0.2.2 7 [1005 1011]}]", Merged{New: 1, Changed: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.ListTot, p.PktListTot = 3, 4 }, Classic)
			set := w.rule(Info{CheckSet: Set})
			for _, p := range []seen{{1000, "192.0.2.1", 64}, {1000, "192.0.2.1", 64}, {1005, "192.0.2.2", 64}, {1010, "192.0.2.1", 64}} {
				w.clock.Set(p.at)
				w.arrives(set, p.host, p.ttl)
			}
			w.clock.Set(1020)
			m := set.table.Merger()
			w.merge(m, c.adds...)
			if got := fmt.Sprint(w.entriesOf(set.table)); got != c.want || m.Merged != c.m {
				t.Errorf("the table has\n%s, want\n%s; %+v, want %+v", got, c.want, m.Merged, c.m)
			}
		})
	}
}

// TestMergeFullRing merges as many stamps as a ring can have, and nstamps cannot
// count.
func TestMergeFullRing(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.PktListTot = 1<<16 - 1 }, Modern)
	w.clock.Set(1 << 20)
	set := w.rule(Info{CheckSet: Set})
	e := modelEntry{host: "192.0.2.1"}
	for i := range 1<<16 - 1 {
		e.stamps = append(e.stamps, jiffies.Jiffies(i))
	}
	m := set.table.Merger()
	for range 3 {
		w.merge(m, e)
		if got := w.entriesOf(set.table)[0].stamps; !slices.Equal(got, e.stamps) {
			t.Fatalf("%d stamps, of %d", len(got), len(e.stamps))
		}
		e.stamps = append(e.stamps, e.newest()+1)
		e.stamps = e.stamps[max(0, len(e.stamps)-1<<16):]
	}
	if _, err := recovered(copyOf(t, set.table.memory.Bytes()), w.clock.Now(), nil); err != nil {
		t.Error(err)
	}
}

// TestMergeErrors has tables that take nothing.
func TestMergeErrors(t *testing.T) {
	w := newWorld(t, nil, Classic)
	set := w.rule(Info{CheckSet: Set})
	m := set.table.Merger()
	w.Destroy(set)
	if err := m.Add([]Addition{{Addr: netip.MustParseAddr("::1")}}); !errors.Is(err, syscall.EIO) {
		t.Errorf("a table that is gone: %v", err)
	}
}

// narrow is a Memory whose mappings have memory for so many bytes.
type narrow uint64

func (narrow) Find(string) []Left { return nil }

func (most narrow) Make(size uint64) (Mapping, error) {
	m, err := Anonymous{}.Make(size)
	return narrowMapping{m.(anonymous), uint64(most)}, err
}

type narrowMapping struct {
	anonymous
	most uint64
}

func (m narrowMapping) Reserve(n uint64) (uint64, error) {
	if n > m.most {
		return 0, syscall.ENOSPC
	}
	return m.most, nil
}

// TestMergeWithoutMemory has memory for two entries.
func TestMergeWithoutMemory(t *testing.T) {
	w := newWorld(t, nil, Classic)
	h := newHeader(100, 20)
	w.memory = narrow(h.slotsEnd(2))
	table := w.rule(Info{CheckSet: Set}).table
	m := table.Merger()
	w.merge(m, modelEntry{"192.0.2.1", 7, nil}, modelEntry{"192.0.2.2", 7, nil})
	if err := m.Add([]Addition{modelEntry{"192.0.2.1", 7, []jiffies.Jiffies{5}}.addition(), modelEntry{"192.0.2.3", 7, nil}.addition()}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a third address: %v", err)
	}
	if got, want := fmt.Sprint(w.entriesOf(table)), "[{192.0.2.1 7 [5 1000]} {192.0.2.2 7 [1000]}]"; got != want {
		t.Errorf("the table has\n%s, want\n%s", got, want)
	}
}

// TestMergerGoesOn has a table become another while addresses are merged into it.
func TestMergerGoesOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world) error
		want   string
	}{
		{"flushed", func(w *world) error { return w.write("t", "/") }, "[{192.0.2.9 7 [500]}]"},
		{"flushed in place", func(w *world) error {
			w.Table("t").where = lessMemory(0)
			return w.write("t", "/")
		}, "[{192.0.2.9 7 [500]}]"},
		{"fewer addresses", func(w *world) error {
			w.reload(func(p *Params) { p.ListTot = 2 }, Info{CheckSet: Set})
			return nil
		}, "[{192.0.2.4 7 [5]} {192.0.2.9 7 [500]}]"},
		{"seen since", func(w *world) error { return errors.Join(w.write("t", "/"), w.write("t", "+192.0.2.4")) },
			"[{192.0.2.9 7 [500]} {192.0.2.4 0 [1000]}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			m := w.rule(Info{CheckSet: Set}).table.Merger()
			for i := range 5 {
				w.merge(m, modelEntry{fmt.Sprintf("192.0.2.%d", i), 7, []jiffies.Jiffies{jiffies.Jiffies(1 + i)}})
			}
			if err := c.change(w); err != nil {
				t.Fatal(err)
			}
			w.merge(m, modelEntry{"192.0.2.9", 7, []jiffies.Jiffies{500}})
			if got := fmt.Sprint(w.entriesOf(w.Table("t"))); got != c.want {
				t.Errorf("the table has\n%s, want\n%s", got, c.want)
			}
		})
	}
}

// TestMergeManySteps merges addresses in any order between many others, whose places
// are more than one step away.
func TestMergeManySteps(t *testing.T) {
	const many = 5 * mergeAtOnce
	w := newWorld(t, func(p *Params) { p.ListTot = many }, Classic)
	set := w.rule(Info{CheckSet: Set})
	random := rand.New(rand.NewPCG(1, 2))
	var list []modelEntry
	for i := range many - 10 {
		w.clock.Set(w.clock.Now() + 1)
		host := fmt.Sprintf("10.0.%d.%d", i>>8, i&255)
		w.arrives(set, host, 64)
		list = append(list, modelEntry{host, 64, []jiffies.Jiffies{w.clock.Now()}})
	}
	m := set.table.Merger()
	for i := range 20 {
		e := modelEntry{fmt.Sprintf("192.0.2.%d", i), 1, []jiffies.Jiffies{1000 + jiffies.Jiffies(random.IntN(many))}}
		w.merge(m, e)
		list = append(list, e)
		if i == 10 { // the place from which the next one is looked for
			if err := w.write("t", "-"+e.host); err != nil {
				t.Fatal(err)
			}
			list = list[:len(list)-1]
		}
	}
	slices.SortStableFunc(list, func(a, b modelEntry) int { return cmp.Compare(a.newest(), b.newest()) })
	list = list[len(list)-many:]
	if got := w.entriesOf(set.table); fmt.Sprint(got) != fmt.Sprint(list) {
		t.Errorf("%d entries, or another order than in %d", len(got), len(list))
	}
}
