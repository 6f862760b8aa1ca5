package main

import (
	"fmt"
	"strings"
	"time"
)

// startTables is how many tables the rules have whose start is measured.
const startTables = 1000

// starts measures the time from the program's start until it says "ready".
func starts(b *bench) error {
	var set strings.Builder
	for i := range startTables {
		fmt.Fprintf(&set, "-A QUEUE%d -m recent --set --name T%d --rsource\n", queueSSH, i)
	}
	text := rules([]int{queueSSH}, set.String())
	row := b.report.row("start", fmt.Sprintf("run to ready with %d tables", startTables), "s", "", goal{oursAtMost, 0.5})
	return b.each(func(int) error {
		start := time.Now()
		d, err := b.daemon(b.free, text, "ip_list_tot=100")
		took := time.Since(start)
		if err != nil {
			return err
		}
		row.ours = append(row.ours, took.Seconds())
		return d.stop()
	})
}
