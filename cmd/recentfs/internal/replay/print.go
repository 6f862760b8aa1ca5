package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"recentfs/cmd/recentfs/internal/report"
	"recentfs/match/recent"
)

// print writes the verdicts, the rules with their counters, and the tables.
func (r *Replay) print(w io.Writer) error {
	fmt.Fprintf(w, "# %d packets", r.packets)
	for _, name := range slices.Sorted(maps.Keys(r.verdicts)) {
		fmt.Fprintf(w, ", %d %s", r.verdicts[name], name)
	}
	fmt.Fprintln(w)
	if err := r.rules.Save(w, true); err != nil {
		return err
	}
	for _, t := range r.registry.Tables() {
		fmt.Fprintln(w)
		if _, err := report.Print(w, t.Name(), &tableReader{cursor: t.Cursor()}, r.moment(), latestFirst); err != nil {
			return err
		}
	}
	return nil
}

func (r *Replay) printJSON(w io.Writer) error {
	var rules strings.Builder
	if err := r.rules.Save(&rules, true); err != nil {
		return err
	}
	out := struct {
		Packets  int                          `json:"packets"`
		Verdicts map[string]int               `json:"verdicts"`
		Rules    []string                     `json:"rules"` // as iptables-save -c prints them
		Tables   map[string][]json.RawMessage `json:"tables"`
	}{r.packets, r.verdicts, strings.Split(strings.TrimSpace(rules.String()), "\n"), make(map[string][]json.RawMessage)}
	for _, t := range r.registry.Tables() {
		var err error
		if out.Tables[t.Name()], err = report.Objects(&tableReader{cursor: t.Cursor()}, r.moment(), latestFirst); err != nil {
			return err
		}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

var latestFirst = report.Query{Sort: report.ByLast}

// moment is the end of the capture file.
func (r *Replay) moment() report.Moment {
	return report.Moment{Now: r.clock.Now(), HZ: hz, Wall: r.last}
}

// tableReader reads a table as its file would be read.
type tableReader struct {
	cursor *recent.Cursor
	pos    int64
}

func (t *tableReader) Read(p []byte) (int, error) {
	n, err := t.cursor.ReadAt(p, t.pos)
	t.pos += int64(n)
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}
