package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// goal is what a row should reach.
type goal struct {
	kind  goalKind
	limit float64
}

type goalKind uint8

const (
	noGoal       goalKind = iota
	ratioAtLeast          // ours / peer
	ratioAtMost
	oursAtMost  // in the row's unit
	aboveAtMost // ours - peer, in the row's unit
)

// row is one line of the report: a sample a round of ours, and of the peer
// where there is one.
type row struct {
	way, what  string
	unit       string
	peerName   string
	ours, peer []float64
	goal       goal
}

// add takes a round's samples.
func (r *row) add(ours, peer float64) {
	r.ours = append(r.ours, ours)
	r.peer = append(r.peer, peer)
}

// ratios are ours / peer, round by round; none where there is no peer.
func (r *row) ratios() (all []float64) {
	for i := range r.peer {
		if r.peer[i] == 0 {
			return nil
		}
		all = append(all, r.ours[i]/r.peer[i])
	}
	return all
}

// verdict is the value that the goal looks at, as text, and whether it is met.
func (r *row) verdict() (value, wanted string, met bool) {
	switch ratio := median(r.ratios()); r.goal.kind {
	case ratioAtLeast:
		return fmt.Sprintf("%.2f x", ratio), fmt.Sprintf(">= %g x", r.goal.limit), ratio >= r.goal.limit
	case ratioAtMost:
		return fmt.Sprintf("%.2f x", ratio), fmt.Sprintf("<= %g x", r.goal.limit), ratio <= r.goal.limit
	case oursAtMost:
		ours := median(r.ours)
		return number(ours, r.unit), "<= " + number(r.goal.limit, r.unit), ours <= r.goal.limit
	case aboveAtMost:
		var more []float64
		for i := range r.ours {
			more = append(more, r.ours[i]-r.peer[i])
		}
		above := median(more)
		return fmt.Sprintf("%+.4g %s", above, r.unit), "<= +" + number(r.goal.limit, r.unit), above <= r.goal.limit
	}
	return "", "", false
}

// report is all rows.
type report struct {
	rows  []*row
	notes []string
}

// row adds a row to be filled.
func (r *report) row(way, what, unit, peerName string, g goal) *row {
	n := &row{way: way, what: what, unit: unit, peerName: peerName, goal: g}
	r.rows = append(r.rows, n)
	return n
}

// note adds a remark below the table.
func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// print writes the table, the notes, and the goals met and missed. The spread
// is that of the ratio's rounds, or of ours where there is no peer.
func (r *report) print(w io.Writer, rounds int) {
	fmt.Fprintf(w, "\nMedians of %d rounds, in which ours and the peer take turns.\n\n", rounds)
	tab := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tab, "way\twhat\tours\tpeer\t\tratio\tspread\tgoal\tmet")
	var met, missed []string
	for _, row := range r.rows {
		peer, ratio, spread := "", "", row.ours
		if row.peerName != "" {
			peer = number(median(row.peer), row.unit)
		}
		if ratios := row.ratios(); len(ratios) > 0 && row.peerName != "" {
			ratio, spread = fmt.Sprintf("%.2f", median(ratios)), ratios
		}
		value, wanted, ok := row.verdict()
		yes := ""
		if row.goal.kind != noGoal {
			line := fmt.Sprintf("%s: %s: %s, goal %s", row.way, row.what, value, wanted)
			if ok {
				yes, met = "yes", append(met, line)
			} else {
				yes, missed = "no", append(missed, line)
			}
		}
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\t%.3g .. %.3g\t%s\t%s\n", row.way, row.what,
			number(median(row.ours), row.unit), peer, row.peerName, ratio, slices.Min(spread), slices.Max(spread), wanted, yes)
	}
	tab.Flush()
	section(w, "Notes:", r.notes)
	section(w, "Goals met:", met)
	section(w, "Goals missed:", missed)
}

func section(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, l := range lines {
		fmt.Fprintf(w, "  %s\n", l)
	}
}

func number(v float64, unit string) string { return fmt.Sprintf("%.4g %s", v, unit) }

// median is the middle of the samples, 0 of none.
func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	switch n := len(s); {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}
