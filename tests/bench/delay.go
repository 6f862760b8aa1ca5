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
// reader costs by needing processors, as any busy process does. The time from
// recvmmsg to the verdict leaves out the wait for a processor to receive on, and
// that until the kernel has the answer the wait of whoever pings.
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
	times := []*delayed{
		{what: "99.9 % time of a ping until the kernel has the answer", of: func(p pinged) []time.Duration { return p.delays }, q: 0.999},
		{what: "99.9 % round trip of a ping", of: func(p pinged) []time.Duration { return p.trips }, q: 0.999},
		{what: "longest round trip of a ping", of: func(p pinged) []time.Duration { return p.trips }, q: 1},
	}
	t, err := b.trace(d.process)
	if err == nil {
		defer func() { err = errors.Join(err, t.stop()) }()
		inside := &delayed{what: "99.9 % time of a packet from recvmmsg to its verdict", of: func(p pinged) []time.Duration { return p.inside }, q: 0.999}
		times = append([]*delayed{inside}, times...)
	} else {
		b.report.note("delay: the time from recvmmsg to the verdict was not measured: %v", err)
	}
	for _, w := range times {
		what := fmt.Sprintf("%s while %d addresses are read in a loop", w.what, held)
		w.quiet = b.report.row("packets", what, "us", "nobody reads", goal{aboveAtMost, 100})
		w.apart = b.report.row("packets", what, "us", "another process's are read", goal{})
	}
	return b.each(func(int) error {
		quiet, err := b.tracedPing(t)
		if err != nil {
			return err
		}
		read, err := b.pingWhileRead(t, d.table("MANY"))
		if err != nil {
			return err
		}
		apart, err := b.pingWhileRead(t, other.table(many))
		if err != nil {
			return err
		}
		for _, w := range times {
			w.quiet.add(quantile(w.of(read), w.q), quantile(w.of(quiet), w.q))
			w.apart.add(quantile(w.of(read), w.q), quantile(w.of(apart), w.q))
		}
		return nil
	})
}

// delayed is a quantile of one kind of times, and its rows.
type delayed struct {
	what         string
	of           func(pinged) []time.Duration
	q            float64
	quiet, apart *row // beside nobody, and another process's reader
}

func (b *bench) pingWhileRead(t *trace, table string) (p pinged, err error) {
	cmd := command(b.ctx, "sh", "-c", `echo ready; while cat "$0" > /dev/null; do :; done`, table)
	reader, err := b.free.serve(cmd)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, reader.stop()) }()
	return b.tracedPing(t)
}

// tracedPing is ping with a trace, unless there is none.
func (b *bench) tracedPing(t *trace) (p pinged, err error) {
	if t == nil {
		return b.ping(queueDelay, delayPings, delayLength)
	}
	inside, err := t.record(func() (err error) {
		p, err = b.ping(queueDelay, delayPings, delayLength)
		return err
	})
	p.inside = inside
	return p, err
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
