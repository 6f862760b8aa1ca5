package tables

import (
	"fmt"
	"io"

	"recentfs/cmd/recentfs/internal/report"
)

// Show prints tables to out, all of them if none is named. Of all tables, one
// that cannot be read is a line in warnings: it is not for this user, or it is
// gone by now, and the others are printed.
func (d Dir) Show(names []string, asJSON bool, out, warnings io.Writer) (err error) {
	all := len(names) == 0
	if all {
		if names, err = d.names(); err != nil {
			return err
		}
	}
	tables := make(map[string][]report.Entry)
	for _, name := range names {
		entries, err := d.read(name)
		if err != nil && all {
			fmt.Fprintln(warnings, err)
			continue
		}
		if err != nil {
			return err
		}
		tables[name] = entries
		if asJSON {
			continue
		}
		if err := report.Print(out, name, entries); err != nil {
			return err
		}
	}
	if asJSON {
		return report.WriteJSON(out, tables)
	}
	return nil
}
