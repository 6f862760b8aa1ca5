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
	s := show{query: q, print: report.Print, out: out}
	if asJSON {
		s.print = report.PrintJSON
	}
	failed, err := p.print(name, &s)
	for _, err := range failed {
		fmt.Fprintln(warnings, err)
	}
	return err
}

// print prints a table, or all. failed says which of all could not be read.
func (p Place) print(name string, s *show) (failed []error, err error) {
	if name != "" {
		if err := checkName(name); err != nil {
			return nil, err
		}
	}
	if s.dir, err = p.open(); err != nil {
		return nil, err
	}
	defer s.Close()
	if name != "" {
		return nil, s.table(name)
	}
	names, err := s.tables()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		err := s.table(name)
		if s.failed != nil {
			return nil, s.failed
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed, nil
}

// tables are the names of the tables, sorted.
func (d *dir) tables() ([]string, error) {
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, explainErrno(d.Name(), err)
	}
	slices.Sort(names)
	return names, nil
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
