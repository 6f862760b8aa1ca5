package recent

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"recentfs/match/jiffies"
)

// seen is one packet of a host.
type seen struct {
	at   jiffies.Jiffies
	host string
	ttl  uint8
}

// entries are the packets of each host that a table of limit hosts has kept, the
// host that was seen last at the end.
func entries(all []seen, limit uint32) (hosts [][]seen) {
	for _, p := range all {
		var own []seen
		if at := slices.IndexFunc(hosts, func(h []seen) bool { return h[0].host == p.host }); at >= 0 {
			own = hosts[at]
			hosts = slices.Delete(hosts, at, at+1)
		} else if len(hosts) == int(limit) {
			hosts = hosts[1:]
		}
		hosts = append(hosts, append(own, p))
	}
	return hosts
}

// fitting are those of the packets that fit, in order: of the hosts that were seen
// last, and of each of them the last ones.
func fitting(hosts [][]seen, limit, stamps uint32) (fit []seen) {
	for _, h := range hosts[max(0, len(hosts)-int(limit)):] {
		fit = append(fit, h[max(0, len(h)-int(stamps)):]...)
	}
	slices.SortFunc(fit, func(a, b seen) int { return cmp.Compare(a.at, b.at) })
	return fit
}

// gets has packets arrive.
func (w *world) gets(rule *Rule, all []seen) {
	for _, p := range all {
		w.clock.Set(p.at)
		w.arrives(rule, p.host, p.ttl)
	}
}

// lru are the addresses of a table, the least recently seen first.
func (w *world) lru(t *Table) (lines []string) {
	for n := t.slot(0).newer; n != 0; n = t.slot(n).newer {
		lines = append(lines, fmt.Sprint(t.slot(n).addr))
	}
	return lines
}

// TestResize gives tables another size. What is in the table then is what is in a
// table that had that size all along and got only the packets that fit into both.
// The same packets afterwards do the same to both.
func TestResize(t *testing.T) {
	for _, c := range []struct {
		name         string
		compat       Compat
		limit, toLim uint32
		ring, toRing uint32
		hosts, hits  int // so many hosts send so many packets together
	}{
		{"more addresses", Classic, 8, 100, 4, 4, 8, 30},
		{"more addresses, some were evicted", Classic, 8, 100, 4, 4, 20, 200},
		{"fewer addresses, all fit", Classic, 100, 8, 4, 4, 7, 100},
		{"fewer addresses", Classic, 100, 8, 4, 4, 50, 300},
		{"one address", Classic, 100, 1, 4, 4, 50, 300},
		{"more stamps, the ring is not full", Classic, 8, 8, 20, 40, 8, 60},
		{"more stamps, the ring is full", Classic, 8, 8, 4, 9, 8, 200},
		{"fewer stamps, all fit", Classic, 8, 8, 100, 50, 8, 60},
		{"fewer stamps", Classic, 8, 8, 100, 5, 8, 600},
		{"fewer stamps, the ring is full", Classic, 8, 8, 7, 5, 8, 600},
		{"one stamp", Classic, 8, 8, 7, 1, 8, 600},
		{"255 stamps", Classic, 8, 8, 1, 255, 8, 600},
		{"more of both", Classic, 8, 64, 3, 20, 40, 900},
		{"fewer of both", Classic, 64, 8, 20, 3, 40, 900},
		{"more addresses, fewer stamps", Classic, 8, 64, 20, 3, 40, 900},
		{"fewer addresses, more stamps", Classic, 64, 8, 3, 20, 40, 900},
		{"the same", Classic, 8, 8, 4, 4, 40, 100},
		{"an empty table", Classic, 8, 100, 4, 8, 1, 0},
		{"modern, more stamps", Modern, 8, 8, 16, 32, 8, 600},
		{"modern, fewer of both", Modern, 64, 8, 32, 8, 40, 900},
		{"from 65536 stamps, the ring is full", Modern, 4, 4, 1 << 16, 1 << 15, 1, 70000},
		{"from 65536 stamps, which are there once", Modern, 4, 4, 1 << 16, 1 << 15, 1, 1 << 16},
		{"from 65536 stamps, but for one", Modern, 4, 4, 1 << 16, 1 << 15, 1, 1<<16 - 1},
		{"from 65536 stamps, and one", Modern, 4, 4, 1 << 16, 1 << 15, 1, 1<<16 + 1},
		{"to 65536 stamps", Modern, 4, 4, 1 << 15, 1 << 16, 1, 40000},
		{"more addresses of 65536 stamps", Modern, 4, 9, 1 << 16, 1 << 16, 1, 1 << 16},
	} {
		t.Run(c.name, func(t *testing.T) {
			size := func(limit, ring uint32) func(p *Params) {
				return func(p *Params) { p.ListTot, p.PktListTot = limit, min(ring, 1<<16-1) }
			}
			random := rand.New(rand.NewPCG(1, 2))
			now := jiffies.Jiffies(1000)
			packets := func(n int) (all []seen) {
				for range n {
					now += 1 + jiffies.Jiffies(random.IntN(3))
					host := fmt.Sprintf("192.0.2.%d", random.IntN(c.hosts))
					if c.hosts > 1 && random.IntN(2) == 0 {
						host = fmt.Sprintf("2001:db8::%d", random.IntN(c.hosts))
					}
					all = append(all, seen{now, host, uint8(1 + random.IntN(255))})
				}
				return all
			}
			is := newWorld(t, size(c.limit, c.ring), c.compat)
			set := is.rule(Info{CheckSet: Set})
			before := packets(c.hits)
			is.gets(set, before)
			kept := entries(before, c.limit)
			if len(kept) > 4 { // one goes, and leaves a free slot
				if err := is.write("t", "-"+kept[2][0].host); err != nil {
					t.Fatal(err)
				}
				kept = slices.Delete(kept, 2, 3)
			}
			moved := is.reload(size(c.toLim, c.toRing), Info{CheckSet: Set})

			should := newWorld(t, size(c.toLim, c.toRing), c.compat)
			again := should.rule(Info{CheckSet: Set})
			stamps := min(c.ring, c.toRing)
			if c.ring == c.toRing {
				stamps = uint32(len(before)) // of a ring that stays, all that came say where the next stamp goes
			}
			should.gets(again, fitting(kept, c.toLim, stamps))
			for _, step := range []string{"after the resize", "later"} {
				h := is.Table("t").header
				if h.limit != c.toLim || h.ring != c.toRing || h.used > h.limit {
					t.Errorf("%s: the table has room for %d addresses of %d stamps, and used %d slots", step, h.limit, h.ring, h.used)
				}
				if got, want := is.lines("t"), should.lines("t"); !slices.Equal(got, want) {
					t.Fatalf("%s the table holds\n  %.2000s\nwant\n  %.2000s", step, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
				}
				if got, want := is.lru(is.Table("t")), should.lru(should.Table("t")); !slices.Equal(got, want) {
					t.Fatalf("%s: the LRU list is %v, want %v", step, got, want)
				}
				after := packets(500)
				is.gets(set, after)
				should.gets(again, after)
			}
			if same := c.limit == c.toLim && c.ring == c.toRing; same != (len(moved) == 0) {
				t.Errorf("tables moved: %+v", moved)
			}
			for _, m := range moved {
				fit := min(len(kept), int(c.toLim))
				if m.Table != set.table || m.Registry != is.Registry || m.Kept != uint32(fit) || m.Dropped != uint32(len(kept)-fit) || m.Emptied {
					t.Errorf("of %d addresses: %+v", len(kept), m)
				}
			}
		})
	}
}
