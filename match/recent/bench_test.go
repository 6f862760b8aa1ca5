package recent

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// sshRules are the two rules of every ssh limit: the fifth hit within a
// minute matches the first rule, any other packet is noted by the second.
func sshRules(tb testing.TB, p Params, clock jiffies.Clock) (update, set *Rule) {
	tb.Helper()
	m, err := NewModule(p, clock)
	if err != nil {
		tb.Fatal(err)
	}
	reg := m.NewRegistry(nil)
	if update, err = reg.Check(Info{Name: "ssh", CheckSet: Update, Seconds: 60, HitCount: 4, Mask: AllOnes}); err != nil {
		tb.Fatal(err)
	}
	if set, err = reg.Check(Info{Name: "ssh", CheckSet: Set, Mask: AllOnes}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { reg.Destroy(update); reg.Destroy(set) })
	return update, set
}

// BenchmarkMatch is one packet through the two ssh rules, in batches of 64
// whose addresses are there before the first is looked up, as in the packet
// loop.
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
		b.Run(c.name, func(b *testing.B) {
			p := DefaultParams(Classic)
			p.ListTot = c.limit
			clock := jiffies.NewManual(1<<20, 250)
			update, set := sshRules(b, p, clock)
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
			var batch Batch
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
					if !update.Match(&batch, now, unix.NFPROTO_IPV4, a, a, 64, false) {
						set.Match(&batch, now, unix.NFPROTO_IPV4, a, a, 64, false)
					}
				}
				batch.End()
			}
		})
	}
}
