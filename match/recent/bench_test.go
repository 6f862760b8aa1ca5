package recent

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// sshRules are the two rules of every ssh limit. The fifth hit within a minute
// matches the first rule. The second rule stamps any other packet.
func sshRules(tb testing.TB, p Params, clock jiffies.Clock, where Memory) (update, set *Rule) {
	tb.Helper()
	m, err := NewModule(p, clock)
	if err != nil {
		tb.Fatal(err)
	}
	reg := m.NewRegistryIn(where, nil)
	if update, err = check(reg, Info{Name: "ssh", CheckSet: Update, Seconds: 60, HitCount: 4, Mask: AllOnes}); err != nil {
		tb.Fatal(err)
	}
	if set, err = check(reg, Info{Name: "ssh", CheckSet: Set, Mask: AllOnes}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { reg.Destroy(update); reg.Destroy(set) })
	return update, set
}

// BenchmarkMatch is one packet through the two ssh rules. Packets come in batches
// of 64, as in the packet loop. A table may be kept, so that its changes are written
// twice, and packets may have a receipt.
func BenchmarkMatch(b *testing.B) {
	for _, c := range []struct {
		name         string
		limit, hosts uint32
	}{
		{"100 addresses", 100, 100},
		{"65536 addresses", 65536, 65536},
		{"1000000 addresses", 1000000, 1000000},
		{"each address evicts one of 65536", 65536, 1 << 31},
	} {
		for _, how := range []struct {
			name    string
			where   Memory
			receipt *Receipt
		}{{"", Anonymous{}, nil}, {", kept", forever{}, nil}, {", kept, with a receipt", forever{}, new(Receipt)}} {
			b.Run(c.name+how.name, func(b *testing.B) {
				p := DefaultParams(Classic)
				p.ListTot = c.limit
				clock := jiffies.NewManual(1<<20, 250)
				update, set := sshRules(b, p, clock, how.where)
				host := func(i uint32) (a [16]byte) {
					binary.NativeEndian.PutUint32(a[:], i*2654435761)
					return a
				}
				now := clock.Now()
				for i := range c.limit {
					a := host(i)
					once(set, now, unix.NFPROTO_IPV4, &a, &a, 64, false)
				}
				b.ReportAllocs()
				b.ResetTimer()
				x := uint64(88172645463325252)
				batch, id := Batch{Receipt: how.receipt}, uint32(0)
				var addrs [64][16]byte
				for i := 0; i < b.N; i += len(addrs) {
					for k := range addrs {
						x ^= x << 13
						x ^= x >> 7
						x ^= x << 17
						addrs[k] = host(uint32(x % uint64(c.hosts)))
					}
					if i&1023 == 0 {
						now++
					}
					for k := range addrs {
						a := &addrs[k]
						if id++; how.receipt != nil {
							batch.Begin(id)
						}
						if !update.Match(&batch, now, unix.NFPROTO_IPV4, a, a, 64, false) {
							set.Match(&batch, now, unix.NFPROTO_IPV4, a, a, 64, false)
						}
					}
					batch.End()
				}
			})
		}
	}
}

// BenchmarkDump reads a table of full entries as cat does. The size of the table
// does not change the bytes per second.
func BenchmarkDump(b *testing.B) {
	for _, hosts := range []int{1 << 14, 1 << 16} {
		b.Run(strconv.Itoa(hosts), func(b *testing.B) {
			p := DefaultParams(Classic)
			p.ListTot = uint32(hosts)
			w := newWorld(b, func(q *Params) { *q = p }, Classic)
			w.clock.Advance(1 << 32 / testHZ * time.Second) // to stamps of ten digits, as a machine has
			set := w.rule(Info{CheckSet: Set})
			for i := range hosts {
				for range 20 {
					w.clock.Advance(time.Second / testHZ)
					w.arrives(set, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), 64)
				}
			}
			buf := make([]byte, 1<<17)
			b.ResetTimer()
			for range b.N {
				c, pos := w.Table("t").Cursor(), int64(0)
				for {
					n, err := c.ReadAt(buf, pos)
					if err != nil {
						b.Fatal(err)
					}
					if n == 0 {
						break
					}
					pos += int64(n)
				}
				b.SetBytes(pos)
			}
		})
	}
}

// BenchmarkResize copies a table of a million full entries to a region of another
// size. That is how long a packet waits for it, at most.
func BenchmarkResize(b *testing.B) {
	const hosts = 1000000
	w := newWorld(b, func(p *Params) { p.ListTot = hosts }, Classic)
	set := w.rule(Info{CheckSet: Set})
	for i := range uint32(20 * hosts) { // in an order that scatters the LRU list
		var a [16]byte
		binary.NativeEndian.PutUint32(a[:], uint32(uint64(i)*616161%hosts))
		once(set, w.clock.Now(), unix.NFPROTO_IPV4, &a, &a, 64, false)
	}
	for _, c := range []struct {
		name        string
		limit, ring uint32
	}{
		{"more addresses", 2 * hosts, 20},
		{"more stamps", hosts, 40},
		{"fewer stamps", hosts, 10},
		{"half of the addresses", hosts / 2, 20},
		{"1000 addresses", 1000, 20},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.StopTimer()
			set.table.evict(c.limit, hosts)
			for range b.N {
				to, err := newRegion(Anonymous{}, c.limit, c.ring)
				if err != nil {
					b.Fatal(err)
				}
				set.table.warm(&to)
				b.StartTimer()
				to.carryOver(&set.table.region, new(atomic.Uint64))
				b.StopTimer()
				to.release()
			}
		})
	}
}

// BenchmarkMerge merges addresses of 20 stamps each into an empty table.
func BenchmarkMerge(b *testing.B) {
	const many, stamps = 1 << 18, 20
	p := DefaultParams(Classic)
	p.ListTot = many
	clock := jiffies.NewManual(1<<30, 250)
	m, err := NewModule(p, clock)
	if err != nil {
		b.Fatal(err)
	}
	all := make([]Addition, many)
	for i := range all {
		all[i].Addr = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		for s := range stamps {
			all[i].Stamps = append(all[i].Stamps, jiffies.Jiffies(100*i+s))
		}
	}
	var longest time.Duration
	for b.Loop() {
		rule, err := check(m.NewRegistry(nil), Info{Name: "t", CheckSet: Set, Mask: AllOnes})
		if err != nil {
			b.Fatal(err)
		}
		merger := rule.table.Merger()
		for i := 0; i < many; i += 64 {
			start := time.Now()
			if err := merger.Add(all[i:][:64]); err != nil {
				b.Fatal(err)
			}
			longest = max(longest, time.Since(start))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/address")
	b.ReportMetric(float64(longest.Microseconds()), "us/longest")
}
