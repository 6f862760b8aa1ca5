package main

import (
	"errors"
	"fmt"
	"runtime"
)

// balance compares two queues that share a flood with one queue that has it to
// itself, both of one process that may run everywhere.
func balance(b *bench) (err error) {
	text := rules([]int{queueSingle, queuePair, queuePair + 1},
		chain(queueSingle, udpMatch, "SINGLE", "DROP"),
		chain(queuePair, udpMatch, "PAIR", "DROP"),
		chain(queuePair+1, udpMatch, "PAIR", "DROP"))
	d, err := b.daemon(b.free, text, "ip_list_tot=16384")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	g := goal{ratioAtLeast, 1.6}
	if n := runtime.NumCPU(); n < 3 {
		g = goal{}
		b.report.note("balance: no goal, since this machine has %d processors and the sender fills one: two queues share what it leaves.", n)
	}
	row := b.report.row("packets", fmt.Sprintf("packets per second, --queue-balance %d:%d", queuePair, queuePair+1), "k/s", "ours, one queue", g)
	return b.each(func(int) error {
		single, err := b.flood(decider{d.process, queueSingle, 1}, floodSources, floodLength, unbounded)
		if err != nil {
			return err
		}
		pair, err := b.flood(decider{d.process, queuePair, 2}, floodSources, floodLength, unbounded)
		row.add(pair.perWall, single.perWall)
		return err
	})
}
