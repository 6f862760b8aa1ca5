package main

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

const (
	crowd = 1000 // of tables, of rules in other chains, of open files
	// level is how far apart what costs the same may be.
	level = 1.1
)

// flat compares a packet of the ssh rules in a recentfs that has nothing else
// with one beside a crowd.
func flat(b *bench) error {
	r := b.report.row("table", fmt.Sprintf("ns per packet of the ssh rules, beside %d tables, rules and open files", crowd), "ns", "beside none", goal{ratioAtMost, level})
	packets := strconv.Itoa(tablePackets)
	return b.each(func(int) error {
		var crowded, alone float64
		if err := b.server.numbers(helper(b.ctx, "decide", strconv.Itoa(crowd), packets), &crowded); err != nil {
			return err
		}
		if err := b.server.numbers(helper(b.ctx, "decide", "0", packets), &alone); err != nil {
			return err
		}
		r.add(crowded, alone)
		return nil
	})
}

// decideLoop is the helper: it decides packets by the ssh rules, beside so many
// tables of another chain's rules, each with an open file, and prints
// nanoseconds a packet.
func decideLoop(args []string) error {
	others, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	packets, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var other strings.Builder
	for i := range others {
		fmt.Fprintf(&other, "-A QUEUE1 -m recent --set --name T%d\n", i)
	}
	p := recent.DefaultParams(recent.Classic)
	p.ListTot = floodSources
	file, err := ruleset.Parse("rules", []byte(rules([]int{0, 1}, chain(0, udpMatch, "SSH", "DROP"), other.String())), p)
	if err != nil {
		return err
	}
	module, err := recent.NewModule(p, jiffies.NewManual(startJiffies, tableHZ))
	if err != nil {
		return err
	}
	reg := module.NewRegistry(nil)
	set, err := file.Load(reg)
	if err != nil {
		return err
	}
	ssh, all := set.Queue(0), set.Queue(1)
	now := jiffies.Jiffies(startJiffies)
	var batch [batchSize]capture.Packet
	fill := func(first int) {
		for k := range batch {
			batch[k] = udpPacket((first + k) % floodSources)
		}
	}
	fill(0)
	if others > 0 {
		all.Decide(batch[:], now)
	}
	var files []*recent.Cursor
	for _, t := range reg.Tables() {
		f := t.Cursor()
		if _, err := f.ReadAt(make([]byte, 100), 0); err != nil {
			return err
		}
		files = append(files, f)
	}
	var took time.Duration
	for i := 0; i < packets; i += len(batch) {
		fill(i)
		start := time.Now()
		ssh.Decide(batch[:], now)
		took += time.Since(start)
	}
	fmt.Println(float64(took) / float64(packets))
	runtime.KeepAlive(files)
	return nil
}

// udpPacket is what the packet loop makes of a packet to port 22 from the i-th
// host.
func udpPacket(i int) (p capture.Packet) {
	a := hostAddr(i)
	var b [64 - 14]byte
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:16], a[:4])
	binary.BigEndian.PutUint16(b[20+2:], 22)
	binary.BigEndian.PutUint16(b[20+4:], uint16(len(b)-20))
	p.In = device
	p.Decode(b[:])
	return p
}
