// Package report reads the lines of a table's file and prints them for people
// and for programs.
package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"recentfs/match/jiffies"
)

// Entry is an address of a table, with its jiffies as times.
type Entry struct {
	Address   netip.Addr `json:"address"`
	TTL       uint8      `json:"ttl"`
	Hits      int        `json:"hits"` // as many as the table keeps, at most
	FirstSeen time.Time  `json:"first_seen"`
	LastSeen  time.Time  `json:"last_seen"`
	FirstAge  float64    `json:"first_seen_seconds_ago"`
	LastAge   float64    `json:"last_seen_seconds_ago"`
	Stamps    []uint64   `json:"stamps"` // jiffies, in the order of the line
}

// Moment ties a reading of jiffies to the time of day.
type Moment struct {
	Now  jiffies.Jiffies
	HZ   uint32
	Wall time.Time
}

// age is how long ago a stamp was made. A jiffy that has just begun counts as
// no time.
func (m Moment) age(stamp jiffies.Jiffies) time.Duration {
	return max(0, jiffies.Duration(m.Now.Sub(stamp), m.HZ))
}

// Read parses the lines of a table's file, which recent_seq_show forms, and
// returns them with the latest seen first. m is when they were read.
func Read(r io.Reader, m Moment) ([]Entry, error) {
	entries := []Entry{} // JSON has a list of none where null would be a surprise
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			break
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		e, err := parse(strings.TrimSuffix(line, "\n"), m)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), a.Address.Compare(b.Address))
	})
	return entries, nil
}

// parse reads "src=ADDRESS ttl: N last_seen: N oldest_pkt: N N, N".
func parse(line string, m Moment) (e Entry, err error) {
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[1] != "ttl:" || fields[3] != "last_seen:" || fields[5] != "oldest_pkt:" {
		return e, fmt.Errorf("%.60q is no line of a table", line)
	}
	if e.Address, err = netip.ParseAddr(strings.TrimPrefix(fields[0], "src=")); err != nil {
		return e, err
	}
	ttl, err := strconv.ParseUint(fields[2], 10, 8)
	if err != nil {
		return e, err
	}
	last, err := strconv.ParseUint(fields[4], 10, 64)
	if err != nil {
		return e, err
	}
	first := jiffies.Jiffies(last)
	for _, field := range fields[7:] {
		stamp, err := strconv.ParseUint(strings.TrimSuffix(field, ","), 10, 64)
		if err != nil {
			return e, err
		}
		e.Stamps = append(e.Stamps, stamp)
		if first.After(jiffies.Jiffies(stamp)) {
			first = jiffies.Jiffies(stamp)
		}
	}
	e.TTL, e.Hits = uint8(ttl), len(e.Stamps)
	e.FirstSeen, e.FirstAge = m.Wall.Add(-m.age(first)), m.age(first).Seconds()
	e.LastSeen, e.LastAge = m.Wall.Add(-m.age(jiffies.Jiffies(last))), m.age(jiffies.Jiffies(last)).Seconds()
	return e, nil
}
