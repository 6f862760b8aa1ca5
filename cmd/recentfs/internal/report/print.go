package report

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Print writes a table for people.
func Print(w io.Writer, name string, entries []Entry) error {
	noun := "addresses"
	if len(entries) == 1 {
		noun = "address"
	}
	if _, err := fmt.Fprintf(w, "%s: %d %s\n", name, len(entries), noun); err != nil || len(entries) == 0 {
		return err
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

// WriteJSON writes v for programs.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
