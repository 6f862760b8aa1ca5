package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

const (
	// collections are how many garbage collections are looked at.
	collections = 20
	// alike is how far apart the longest of two such runs may be.
	alike = 1.25
)

// memory measures what a full table of a million addresses costs: resident
// memory, and the garbage collector's longest pause.
func memory(b *bench) error {
	size := b.report.row("table", "resident bytes per address, 1000000 with 20 stamps", "B", "", goal{oursAtMost, 216})
	pause := b.report.row("table", "garbage collector's longest pause, 1000000 addresses", "us", "none", goal{ratioAtMost, alike})
	return b.each(func(int) error {
		var bytes, full, empty float64
		if err := b.free.numbers(helper(b.ctx, "memory"), &bytes, &full, &empty); err != nil {
			return err
		}
		size.ours = append(size.ours, bytes)
		pause.add(full, empty)
		return nil
	})
}

// holdTable is the helper. It prints its resident bytes per address with the
// table full, and the longest pauses, in microseconds, with it and without.
func holdTable([]string) error {
	empty := longestPause()
	rules, err := ourRules(many)
	if err != nil {
		return err
	}
	var batch recent.Batch
	defer batch.End()
	set := matcher(rules[1], &batch)
	for i := range many {
		for stamp := range stampsKept {
			a := hostAddr(i)
			set(jiffies.Jiffies(startJiffies+stamp), &a)
		}
	}
	full := longestPause()
	resident, err := residentBytes()
	if err != nil {
		return err
	}
	fmt.Println(float64(resident)/many, full, empty)
	return nil
}

// longestPause is the longest of the pauses of some garbage collections, in
// microseconds. As many go before, since the first ones find the state that
// the program's start has left.
func longestPause() float64 {
	for range collections {
		runtime.GC()
	}
	var before, after debug.GCStats
	debug.ReadGCStats(&before)
	for range collections {
		runtime.GC()
	}
	debug.ReadGCStats(&after)
	var longest time.Duration
	// Most recent first; a collection has one entry, its two pauses added.
	for _, p := range after.Pause[:after.NumGC-before.NumGC] {
		longest = max(longest, p)
	}
	return float64(longest) / float64(time.Microsecond)
}

// residentBytes is this process's VmRSS.
func residentBytes() (int, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kB int
			_, err := fmt.Sscan(value, &kB)
			return kB << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmRSS")
}
