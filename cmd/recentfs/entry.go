package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"recentfs/match/jiffies"
)

// entry is an address of a table, with its jiffies as times.
type entry struct {
	Address   netip.Addr `json:"address"`
	TTL       uint8      `json:"ttl"`
	Hits      int        `json:"hits"` // as many as the table keeps, at most
	FirstSeen time.Time  `json:"first_seen"`
	LastSeen  time.Time  `json:"last_seen"`
	FirstAge  float64    `json:"first_seen_seconds_ago"`
	LastAge   float64    `json:"last_seen_seconds_ago"`
	Stamps    []uint64   `json:"stamps"` // jiffies, in the order of the line
}

// moment ties a reading of jiffies to the time of day.
type moment struct {
	now  jiffies.Jiffies
	hz   uint32
	wall time.Time
}

// age is how long ago a stamp was made; a jiffy that has just begun counts as
// no time.
func (m moment) age(stamp jiffies.Jiffies) time.Duration {
	return max(0, jiffies.Duration(m.now.Sub(stamp), m.hz))
}

// readEntries parses the lines of a table's file, which recent_seq_show forms,
// and returns them with the latest seen first.
func readEntries(r io.Reader, m moment) ([]entry, error) {
	entries := []entry{}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			break
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		e, err := parseEntry(strings.TrimSuffix(line, "\n"), m)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), a.Address.Compare(b.Address))
	})
	return entries, nil
}

// parseEntry reads "src=ADDRESS ttl: N last_seen: N oldest_pkt: N N, N".
func parseEntry(line string, m moment) (e entry, err error) {
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
	e.FirstSeen, e.FirstAge = m.wall.Add(-m.age(first)), m.age(first).Seconds()
	e.LastSeen, e.LastAge = m.wall.Add(-m.age(jiffies.Jiffies(last))), m.age(jiffies.Jiffies(last)).Seconds()
	return e, nil
}

// printTable writes a table for people.
func printTable(w io.Writer, name string, entries []entry) error {
	fmt.Fprintf(w, "%s: %d %s\n", name, len(entries), plural(len(entries), "address", "addresses"))
	if len(entries) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  ADDRESS\tHITS\tFIRST SEEN\t\tLAST SEEN\t\tTTL")
	for _, e := range entries {
		fmt.Fprintf(tw, "  %s\t%d\t%s\t%s\t%s\t%s\t%d\n", e.Address, e.Hits,
			e.FirstSeen.Format(time.DateTime), ago(e.FirstAge), e.LastSeen.Format(time.DateTime), ago(e.LastAge), e.TTL)
	}
	return tw.Flush()
}

// ago is an age in at most two units.
func ago(seconds float64) string {
	s := int64(seconds)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds ago", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds ago", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%dh%02dm ago", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh ago", s/86400, s/3600%24)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
