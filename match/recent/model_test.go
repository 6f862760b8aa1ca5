package recent

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
)

// TestAgainstList makes thousands of changes to a small table and to a plain
// list, and compares the two after each change. In a small table entries crowd in
// the index, are evicted, and move up past its end. Now and then the table gets
// room for fewer or more addresses and stamps.
func TestAgainstList(t *testing.T) {
	for _, limit := range []uint32{1, 2, 3, 4, 7, 8, 64} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.ListTot = limit }, Classic)
			set := w.rule(Info{CheckSet: Set})
			forget := w.rule(Info{CheckSet: Remove})
			update := w.rule(Info{CheckSet: Update, Seconds: 1})
			var list []string // the least recently seen first
			random := rand.New(rand.NewPCG(1, uint64(limit)))
			for range 5000 {
				if random.IntN(20) == 0 {
					limit = 1 + random.Uint32N(2*limit)%100
					w.reload(func(p *Params) { p.ListTot, p.PktListTot = limit, 1+random.Uint32N(8) }, Info{CheckSet: Set})
					list = list[max(0, len(list)-int(limit)):]
					w.holds(update.table, list)
				}
				// C000:2xx:: has the first bytes of 192.0.2.x.
				a := fmt.Sprintf("192.0.2.%d", random.IntN(int(limit)+3))
				if random.IntN(4) == 0 {
					a = fmt.Sprintf("c000:2%02x::", random.IntN(int(limit)+3))
				}
				at := slices.Index(list, a)
				change := random.IntN(8)
				switch change {
				case 0, 1, 2, 3: // noted
					w.arrives(set, a, 64)
				case 4, 5:
					if seen := w.arrives(update, a, 64); seen != (at >= 0) {
						t.Fatalf("update of %s matches: %v, in a table of %v", a, seen, list)
					}
				case 6, 7:
					if seen := w.arrives(forget, a, 64); seen != (at >= 0) {
						t.Fatalf("remove of %s matches: %v, in a table of %v", a, seen, list)
					}
				}
				if at >= 0 {
					list = slices.Delete(list, at, at+1)
				}
				if change < 4 || change < 6 && at >= 0 {
					list = append(list, a)
				}
				if len(list) > int(limit) {
					list = list[1:]
				}
				w.holds(update.table, list)
			}
		})
	}
}

// holds checks that each address of a list, and no other, is in a table and is
// found there, and that the table's LRU list has the order of this one.
func (w *world) holds(t *Table, list []string) {
	w.Helper()
	n := t.slot(0).newer
	for _, text := range list {
		family, b := bytesOf(text)
		a := addr.Load(&b)
		if found := t.lookup(a, family, 0); found != n || n == 0 {
			w.Fatalf("%s is found in slot %d, and has slot %d in the LRU list of %v", text, found, n, list)
		}
		n = t.slot(n).newer
	}
	if t.header.used > t.header.limit {
		w.Fatalf("%d slots were used, of %d", t.header.used, t.header.limit)
	}
	if n != 0 || int(t.header.entries) != len(list) {
		w.Fatalf("the table has %d entries, slot %d after the last of %v", t.header.entries, n, list)
	}
	places := 0
	for _, p := range t.index {
		if p.n != 0 {
			places++
		}
	}
	if places != len(list) {
		w.Fatalf("the index has %d places in use for %v", places, list)
	}
}

// TestFlushWithoutMemory flushes a table when there is no memory for another.
func TestFlushWithoutMemory(t *testing.T) {
	w := filled(t, 100)
	set := w.rule(Info{CheckSet: Set})
	set.table.where = lessMemory(0)
	if err := w.write("t", "/"); err != nil {
		t.Fatal(err)
	}
	w.holds(set.table, nil)
	w.want("t")
	w.arrives(set, "192.0.2.2", 64)
	w.arrives(set, "192.0.2.1", 64)
	w.holds(set.table, []string{"192.0.2.2", "192.0.2.1"})
}

// TestProbes counts the places of the index that a lookup reads, for many secrets,
// with addresses that are more alike than random ones.
func TestProbes(t *testing.T) {
	const limit, secrets = 4096, 300 // the index is half full, for which theory has 1.5
	for _, c := range []struct {
		name string
		addr func(i uint64) addr.Addr // of network byte order
	}{
		{"IPv4 in a row", func(i uint64) addr.Addr { return addr.Addr{Lo: bits.ReverseBytes64((10<<24 + i) << 32)} }},
		{"every second IPv4", func(i uint64) addr.Addr { return addr.Addr{Lo: bits.ReverseBytes64((10<<24 + 2*i) << 32)} }},
		{"IPv4 networks", func(i uint64) addr.Addr { return addr.Addr{Lo: bits.ReverseBytes64((10<<24 + 256*i) << 32)} }},
		{"IPv6 networks in a row", func(i uint64) addr.Addr {
			return addr.Addr{Lo: bits.ReverseBytes64(0x20010db8<<32 + i), Hi: bits.ReverseBytes64(1)}
		}},
		{"hosts of an IPv6 network", func(i uint64) addr.Addr {
			return addr.Addr{Lo: bits.ReverseBytes64(0x20010db8 << 32), Hi: bits.ReverseBytes64(i)}
		}},
		{"devices of one maker", func(i uint64) addr.Addr {
			return addr.Addr{Lo: bits.ReverseBytes64(0x20010db8 << 32), Hi: bits.ReverseBytes64(0x021122fffe<<24 + i)}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			for range secrets {
				table, err := newRegion(Anonymous{}, limit, 1)
				if err != nil {
					t.Fatal(err)
				}
				table.header.key = addr.Addr{Lo: random.Uint64(), Hi: random.Uint64()}
				for i := range uint64(limit) {
					table.add(c.addr(i), unix.NFPROTO_IPV6, 64, 1)
				}
				all, longest := uint32(0), uint32(0)
				for i, p := range table.index {
					if p.n != 0 {
						probes := (uint32(i)-p.hash)&uint32(len(table.index)-1) + 1
						all, longest = all+probes, max(longest, probes)
					}
				}
				if mean := float64(all) / limit; mean > 1.7 || longest > 80 {
					t.Errorf("secret %x: an address takes %.2f places, and one %d", table.header.key, mean, longest)
				}
				table.memory.Release()
			}
		})
	}
}
