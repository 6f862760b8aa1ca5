package tables

import (
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/cmd/recentfs/internal/report"
	"recentfs/match/jiffies"
)

// Show prints a table to out, or all tables if name is empty. Of all tables, one
// that cannot be read is a line in warnings: it is not for this user, or it is
// gone by now, and the others are printed. If no address is in the prefix that
// is asked for, Show prints nothing and returns an error.
func (p Place) Show(name string, q report.Query, asJSON bool, out, warnings io.Writer) error {
	if name != "" {
		if err := checkName(name); err != nil {
			return err
		}
	}
	d, err := p.open()
	if err != nil {
		return err
	}
	defer d.Close()
	s := show{dir: d, query: q, print: report.Print, out: out}
	if asJSON {
		s.print = report.PrintJSON
	}
	if name != "" {
		return s.table(name)
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return explainErrno(d.Name(), err)
	}
	slices.Sort(names)
	for _, name := range names {
		err := s.table(name)
		if s.failed != nil {
			return s.failed
		}
		if err != nil {
			fmt.Fprintln(warnings, err)
		}
	}
	return nil
}

// show prints tables of a directory.
type show struct {
	*dir
	query  report.Query
	print  func(out io.Writer, table string, lines io.Reader, m report.Moment, q report.Query) (int, error)
	out    io.Writer
	failed error // what kept out from being written
}

func (s *show) Write(p []byte) (n int, err error) {
	n, s.failed = s.out.Write(p)
	return n, s.failed
}

func (s *show) table(name string) error {
	f, err := s.dir.table(name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	clock, err := jiffies.NewSystem()
	if err != nil {
		return err
	}
	n, err := s.print(s, name, f, report.Moment{Now: clock.Now(), HZ: clock.HZ(), Wall: time.Now()}, s.query)
	switch {
	case s.failed != nil:
		return s.failed
	case err != nil:
		return fmt.Errorf("%s: %w", f.Name(), err)
	case n == 0 && s.query.Prefix.IsSingleIP():
		return fmt.Errorf("%s: %s is not in it", f.Name(), s.query.Prefix.Addr())
	case n == 0 && s.query.Prefix.IsValid():
		return fmt.Errorf("%s: no address is in %s", f.Name(), s.query.Prefix)
	}
	return nil
}
