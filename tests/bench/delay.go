package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	many        = 1000000          // addresses of a large table
	fillLength  = 20 * time.Second // at most
	fillTries   = 5
	delayLength = 1500 * time.Millisecond
	delayPings  = 100000 // more than fit into that time
)

// delay pings a queue whose table holds a million addresses: while nobody
// reads, while somebody reads that table over and over, and while somebody
// reads a table of the same size in another process. The last shows what a
// reader costs by needing processors, as any busy process does.
func delay(b *bench) (err error) {
	d, err := b.daemon(b.free, rules([]int{queueDelay}, chain(queueDelay, "", "MANY", "ACCEPT")), fmt.Sprintf("ip_list_tot=%d", many))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	held, err := b.fill(d)
	if err != nil {
		return err
	}
	other, err := b.serveFull("other", many)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, other.stop()) }()
	what := fmt.Sprintf(" round trip of a ping while %d addresses are read in a loop", held)
	longest := b.report.row("packets", "longest"+what, "us", "nobody reads", goal{aboveAtMost, 100})
	longestOther := b.report.row("packets", "longest"+what, "us", "another process's are read", goal{})
	usual := b.report.row("packets", "99.9 %"+what, "us", "nobody reads", goal{aboveAtMost, 100})
	usualOther := b.report.row("packets", "99.9 %"+what, "us", "another process's are read", goal{})
	return b.each(func(int) error {
		quiet, err := b.ping(queueDelay, delayPings, delayLength)
		if err != nil {
			return err
		}
		read, err := b.pingWhileRead(d.table("MANY"))
		if err != nil {
			return err
		}
		apart, err := b.pingWhileRead(other.table(many))
		if err != nil {
			return err
		}
		longest.add(quantile(read, 1), quantile(quiet, 1))
		longestOther.add(quantile(read, 1), quantile(apart, 1))
		usual.add(quantile(read, 0.999), quantile(quiet, 0.999))
		usualOther.add(quantile(read, 0.999), quantile(apart, 0.999))
		return nil
	})
}

func (b *bench) pingWhileRead(table string) (trips []time.Duration, err error) {
	cmd := command(b.ctx, "sh", "-c", `echo ready; while cat "$0" > /dev/null; do :; done`, table)
	reader, err := b.free.serve(cmd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reader.stop()) }()
	return b.ping(queueDelay, delayPings, delayLength)
}

// fill floods from a million addresses until the table holds nearly as many,
// and returns how many.
func (b *bench) fill(d *daemon) (held int, err error) {
	for range fillTries {
		if _, err := b.flood(decider{d.process, queueDelay, 1}, many, fillLength, many); err != nil {
			return 0, err
		}
		if held, _, err = readTable(d.table("MANY")); err != nil || held > many*99/100 {
			return held, err
		}
	}
	return 0, fmt.Errorf("only %d of %d addresses arrived in %d floods", held, many, fillTries)
}

// readTable reads a table's file and returns its lines and bytes.
func readTable(path string) (lines, size int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	buf := make([]byte, 128<<10)
	for {
		n, err := f.Read(buf)
		lines += bytes.Count(buf[:n], []byte{'\n'})
		size += n
		if err == io.EOF {
			return lines, size, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}
