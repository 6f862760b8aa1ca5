package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

const (
	startJiffies = 1 << 20
	tableHZ      = 250
	tablePackets = 2000000
	batchSize    = 64 // of the packet loop of capture/nfqueue
)

// tables compares the table by itself with the kernel's in C, and with the
// obvious one in Go. All see the same packets, and must match the same.
func tables(b *bench) error {
	for _, size := range []struct {
		hosts int
		limit float64 // of the ratio to C
	}{{100, 1.5}, {65536, 1}, {many, 1}} {
		what := fmt.Sprintf("ns per packet, %d addresses", size.hosts)
		hosts, packets := strconv.Itoa(size.hosts), strconv.Itoa(tablePackets)
		c := b.report.row("table", what, "ns", "C, the kernel's table", goal{ratioAtMost, size.limit})
		var obvious *row
		if size.hosts == 65536 {
			obvious = b.report.row("table", what, "ns", "Go, map and list", goal{ratioAtMost, 0.5})
		}
		err := b.each(func(int) error {
			var ns, cNS, obviousNS float64
			var matched, cMatched, obviousMatched int
			if err := b.server.numbers(helper(b.ctx, "table", "ours", hosts, packets), &ns, &matched); err != nil {
				return err
			}
			if err := b.server.numbers(command(b.ctx, b.ctable, hosts, strconv.Itoa(stampsKept), packets), &cNS, &cMatched); err != nil {
				return err
			}
			c.add(ns, cNS)
			if obvious != nil {
				if err := b.server.numbers(helper(b.ctx, "table", "obvious", hosts, packets), &obviousNS, &obviousMatched); err != nil {
					return err
				}
				obvious.add(ns, obviousNS)
			}
			if matched != cMatched || obvious != nil && matched != obviousMatched {
				return fmt.Errorf("%d addresses: ours matched %d packets, C %d, the obvious table %d", size.hosts, matched, cMatched, obviousMatched)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tableLoop is the helper: it sends packets from random ones of so many
// addresses through update and, where that does not match, set, and prints
// nanoseconds a packet and how many matched. ctable.c does the same.
func tableLoop(args []string) error {
	hosts, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	packets, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var update, set func(now jiffies.Jiffies, a *[16]byte) bool
	turn := func() {}
	switch args[0] {
	case "ours":
		var rules []*recent.Rule
		if rules, err = ourRules(hosts); err != nil {
			return err
		}
		var batch recent.Batch
		update, set = matcher(rules[0], &batch), matcher(rules[1], &batch)
		turn = batch.End
	case "obvious":
		t := newObviousTable(hosts, stampsKept)
		update = func(now jiffies.Jiffies, a *[16]byte) bool {
			return t.update(netip.AddrFrom4([4]byte(a[:])), uint64(now), 60*tableHZ, 4)
		}
		set = func(now jiffies.Jiffies, a *[16]byte) bool {
			return t.set(netip.AddrFrom4([4]byte(a[:])), uint64(now))
		}
	default:
		return errors.New("table: it is ours or obvious")
	}
	now := jiffies.Jiffies(startJiffies)
	for i := range hosts {
		a := hostAddr(i)
		set(now, &a)
	}
	matched := 0
	x := uint64(88172645463325252)
	var addrs [batchSize][16]byte
	start := time.Now()
	for i := 0; i < packets; i += batchSize {
		// As the packet loop does: all packets of a batch are read before the
		// first meets a rule.
		n := min(batchSize, packets-i)
		for k := range n {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			addrs[k] = hostAddr(int(x % uint64(hosts)))
		}
		turn()
		for k := range n {
			if (i+k)&1023 == 0 {
				now++
			}
			if update(now, &addrs[k]) {
				matched++
			} else {
				set(now, &addrs[k])
			}
		}
	}
	fmt.Println(float64(time.Since(start))/float64(packets), matched)
	return nil
}

// hostAddr is the i-th host's address.
func hostAddr(i int) (a [16]byte) {
	binary.NativeEndian.PutUint32(a[:], uint32(i)*2654435761)
	return a
}

// stampsKept is ip_pkt_list_tot's default in the classic module.
const stampsKept = 20

// ourRules are the two ssh rules, update and set, on a table for so many
// addresses.
func ourRules(hosts int) ([]*recent.Rule, error) {
	p := recent.DefaultParams(recent.Classic)
	p.ListTot, p.PktListTot = uint32(hosts), stampsKept
	module, err := recent.NewModule(p, jiffies.NewManual(startJiffies, tableHZ))
	if err != nil {
		return nil, err
	}
	return module.NewRegistry(nil).CheckAll([]recent.Info{
		{Name: "ssh", CheckSet: recent.Update, Seconds: 60, HitCount: 4, Mask: recent.AllOnes},
		{Name: "ssh", CheckSet: recent.Set, Mask: recent.AllOnes},
	})
}

// matcher matches a rule against a packet from an address, in a batch.
func matcher(r *recent.Rule, batch *recent.Batch) func(now jiffies.Jiffies, a *[16]byte) bool {
	return func(now jiffies.Jiffies, a *[16]byte) bool {
		return r.Match(batch, now, unix.NFPROTO_IPV4, a, a, 64, false)
	}
}
