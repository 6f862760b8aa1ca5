package recent

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// modelEntry is an address of a model, which is a list of them, the least recently
// seen first.
type modelEntry struct {
	host   string
	ttl    uint8
	stamps []jiffies.Jiffies // the oldest first
}

func (e *modelEntry) newest() jiffies.Jiffies { return e.stamps[len(e.stamps)-1] }

func (e modelEntry) equal(f modelEntry) bool {
	return e.host == f.host && e.ttl == f.ttl && slices.Equal(e.stamps, f.stamps)
}

// modelMerge is what Merger does, simply.
func modelMerge(list []modelEntry, a modelEntry, now jiffies.Jiffies, limit, ring int) []modelEntry {
	at := slices.IndexFunc(list, func(e modelEntry) bool { return e.host == a.host })
	if len(a.stamps) == 0 {
		if at >= 0 {
			return list
		}
		a.stamps = []jiffies.Jiffies{now}
	}
	a.stamps = slices.Clone(a.stamps)
	for i := range a.stamps {
		a.stamps[i] = min(a.stamps[i], now)
	}
	if at >= 0 {
		was := list[at]
		for _, s := range was.stamps { // those of both are there once
			if i := slices.Index(a.stamps, s); i >= 0 {
				a.stamps = slices.Delete(a.stamps, i, i+1)
			}
		}
		newer := len(a.stamps) > 0 && a.newest() > was.newest()
		a.stamps = append(slices.Clone(was.stamps), a.stamps...)
		slices.Sort(a.stamps)
		a.stamps = a.stamps[max(0, len(a.stamps)-ring):]
		if !newer {
			a.ttl = was.ttl
			list[at] = a
			return list
		}
		list = slices.Delete(list, at, at+1)
	}
	a.stamps = a.stamps[max(0, len(a.stamps)-ring):]
	if len(list) == limit && a.newest() <= list[0].newest() {
		return list
	}
	place := len(list)
	for place > 0 && list[place-1].newest() > a.newest() {
		place--
	}
	list = slices.Insert(list, place, a)
	return list[max(0, len(list)-limit):]
}

// entriesOf are the entries of a table, as a model has them.
func (w *world) entriesOf(t *Table) (list []modelEntry) {
	for n := t.slot(0).newer; n != 0; n = t.slot(n).newer {
		s := t.slot(n)
		e := modelEntry{ttl: s.ttl}
		if b := s.addr.Bytes(); s.family == unix.NFPROTO_IPV4 {
			e.host = netip.AddrFrom4([4]byte(b[:4])).String()
		} else {
			e.host = netip.AddrFrom16(b).String()
		}
		places := t.places(n)[:s.stampCount(t.ring)]
		first := int(s.newestIndex(t.ring)+1) % len(places)
		e.stamps = append(slices.Clone(places[first:]), places[:first]...)
		list = append(list, e)
	}
	return list
}

// addition is a model's entry to be merged.
func (e modelEntry) addition() Addition {
	return Addition{Addr: netip.MustParseAddr(e.host), TTL: e.ttl, Stamps: e.stamps}
}

// TestMergeAgainstModel merges random additions into small tables while packets come,
// and compares each time with a plain list.
func TestMergeAgainstModel(t *testing.T) {
	for _, c := range []struct{ limit, ring int }{{1, 1}, {2, 3}, {3, 1}, {5, 4}, {16, 2}, {40, 20}, {40, 255}} {
		t.Run(fmt.Sprintf("%d of %d", c.limit, c.ring), func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.ListTot, p.PktListTot = uint32(c.limit), uint32(c.ring) }, Classic)
			set, forget := w.rule(Info{CheckSet: Set}), w.rule(Info{CheckSet: Remove})
			table := set.table
			random := rand.New(rand.NewPCG(uint64(c.limit), uint64(c.ring)))
			var list []modelEntry
			merger := table.Merger()
			for range 1500 {
				w.clock.Set(w.clock.Now() + jiffies.Jiffies(random.IntN(3)))
				now := w.clock.Now()
				host := fmt.Sprintf("192.0.2.%d", random.IntN(c.limit+3))
				if random.IntN(4) == 0 {
					host = fmt.Sprintf("c000:2%02x::", random.IntN(c.limit+3))
				}
				switch kind := random.IntN(10); {
				case kind < 3:
					w.arrives(set, host, 64)
					e := modelEntry{host, 64, append(stampsOf(list, host), now)}
					e.stamps = e.stamps[max(0, len(e.stamps)-c.ring):]
					list = slices.DeleteFunc(list, func(e modelEntry) bool { return e.host == host })
					list = append(list, e)
					list = list[max(0, len(list)-c.limit):]
				case kind == 3:
					w.arrives(forget, host, 64)
					list = slices.DeleteFunc(list, func(e modelEntry) bool { return e.host == host })
				case kind == 4:
					merger = table.Merger()
				default:
					var all []modelEntry
					for range 1 + random.IntN(4) {
						e := modelEntry{host: fmt.Sprintf("192.0.2.%d", random.IntN(c.limit+3)), ttl: uint8(random.IntN(256))}
						for range random.IntN(c.ring + 3) {
							e.stamps = append(e.stamps, now+4-jiffies.Jiffies(random.IntN(60)))
						}
						slices.Sort(e.stamps)
						all = append(all, e)
					}
					isExport := random.IntN(2) == 0
					if isExport {
						all = asExported(all, now)
					}
					for _, e := range all {
						list = modelMerge(list, e, now, c.limit, c.ring)
					}
					w.merge(merger, all...)
					if isExport { // again, which changes nothing
						w.merge(table.Merger(), all...)
					}
				}
				if got := w.entriesOf(table); !slices.EqualFunc(got, list, modelEntry.equal) {
					t.Fatalf("the table has\n%v, want\n%v", got, list)
				}
				hosts := make([]string, len(list))
				for i, e := range list {
					hosts[i] = e.host
				}
				w.holds(table, hosts)
			}
		})
	}
}

// asExported has each host once, with stamps, none of them of the future, in the order
// of the newest ones.
func asExported(all []modelEntry, now jiffies.Jiffies) []modelEntry {
	slices.SortStableFunc(all, func(a, b modelEntry) int { return cmp.Compare(a.host, b.host) })
	all = slices.CompactFunc(all, func(a, b modelEntry) bool { return a.host == b.host })
	all = slices.DeleteFunc(all, func(e modelEntry) bool { return len(e.stamps) == 0 })
	for _, e := range all {
		for i := range e.stamps {
			e.stamps[i] = min(e.stamps[i], now)
		}
	}
	slices.SortStableFunc(all, func(a, b modelEntry) int { return cmp.Compare(a.newest(), b.newest()) })
	return all
}

// stampsOf are the stamps of a host of a model.
func stampsOf(list []modelEntry, host string) []jiffies.Jiffies {
	for _, e := range list {
		if e.host == host {
			return slices.Clone(e.stamps)
		}
	}
	return nil
}

func (w *world) merge(m *Merger, all ...modelEntry) {
	w.Helper()
	var additions []Addition
	for _, e := range all {
		additions = append(additions, e.addition())
	}
	if err := m.Add(additions); err != nil {
		w.Fatal(err)
	}
}
