package exchange

import (
	"bufio"
	"io"
	"slices"
	"time"

	"recentfs/cmd/recentfs/internal/report"
	"recentfs/match/jiffies"
)

const bufferSize = 256 << 10

// Export prints the addresses of a table's file as they are read, and returns their
// number. wall is the clock that the file's stamps are of.
func Export(w io.Writer, table string, r io.Reader, wall jiffies.Wall) (n int, err error) {
	name, err := quote(table)
	if err != nil {
		return 0, err
	}
	out := bufio.NewWriterSize(w, bufferSize)
	var record Record
	var line []byte
	err = report.Scan(r, func(e *report.Entry) (bool, error) {
		n++
		record.of(e, wall)
		line = record.append(line[:0], name)
		_, err := out.Write(line)
		return true, err
	})
	if failed := out.Flush(); err == nil {
		err = failed
	}
	return n, err
}

// of makes the record that of an entry, but for its table. wall is the clock of its
// stamps.
func (r *Record) of(e *report.Entry, wall jiffies.Wall) {
	r.Address, r.TTL, r.Times = e.Address, e.TTL, r.Times[:0]
	first := e.Oldest % len(e.Stamps) // where the ring is full; or else 0
	for _, part := range [][]uint64{e.Stamps[first:], e.Stamps[:first]} {
		for _, stamp := range part {
			r.Times = append(r.Times, microseconds(wall.When(tick(stamp, wall.At))))
		}
	}
	r.sort()
}

// sort puts times in order. In a table they are, but for packets of several queues
// at once, of which the order says how they came.
func (r *Record) sort() {
	for i := 1; i < len(r.Times); i++ {
		if r.Times[i] < r.Times[i-1]-second {
			slices.Sort(r.Times)
			return
		}
	}
}

// tick is a stamp of a clock that shows now. A kernel of 32 bits counts to 2^32, and
// one of 64 bits starts just below that: a distance of 32 bits is right for both.
func tick(stamp uint64, now jiffies.Jiffies) jiffies.Jiffies {
	if stamp >= 1<<32 || now >= 1<<32 {
		return jiffies.Jiffies(stamp)
	}
	return now + jiffies.Jiffies(int32(uint32(stamp)-uint32(now)))
}

// microseconds is a time as a record has it.
func microseconds(t time.Time) int64 {
	return min(max(0, t.UnixMicro()), maxTime)
}
