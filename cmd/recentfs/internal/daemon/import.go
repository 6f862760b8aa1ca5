package daemon

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/cmd/recentfs/internal/exchange"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// Import implements control.Daemon. No lock of the daemon is held while it reads or
// merges.
func (s *Server) Import(w io.Writer, r io.Reader, netns string, pid int) error {
	i, err := s.instanceOf(netns, pid)
	if err != nil {
		return err
	}
	wall, err := s.clock.Wall()
	if err != nil {
		return err
	}
	l := loading{registry: i.registry, wall: wall}
	err = exchange.Decode(r, l.begin, l.add)
	if err == nil {
		err = l.flush()
	}
	if bad := new(exchange.BodyError); errors.As(err, &bad) {
		err = &control.Error{Status: http.StatusBadRequest, Err: err}
	}
	if err != nil {
		return l.explain(i.explain(err))
	}
	logrus.Info(i.explain(fmt.Errorf("%s imported", count(l.read, "address"))))
	return l.tell(w)
}

// instanceOf is the instance of the namespace of that name, or without a name that of
// a process's namespace. If there is only one namespace, it needs no name.
func (s *Server) instanceOf(netns string, pid int) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _ := s.host.NetnsOf(pid)
	for its, i := range s.instances {
		if netns == i.name || netns == "" && its == id {
			return i, nil
		}
	}
	err := fmt.Errorf("network namespace %s is not served here: see 'recentfs run --netns'", netns)
	if netns == "" {
		err = errors.New("the caller's network namespace is not served here: name one that is by --netns")
	}
	return nil, &control.Error{Status: http.StatusNotFound, Err: err}
}

// loading is an import under way.
type loading struct {
	registry *recent.Registry
	wall     jiffies.Wall
	tables   []*merging
	read     int

	// additions are those of a table that are not merged yet. Their stamps are in
	// stamps.
	to        *merging
	additions []recent.Addition
	stamps    []jiffies.Jiffies
}

// merging is a table that gets additions.
type merging struct {
	*recent.Merger
	name string
	read int
}

// So many additions, or stamps of them, are decoded before they are merged.
const (
	additionsAtOnce = 256
	stampsAtOnce    = 1 << 16
)

// begin finds all tables before any of them is touched.
func (l *loading) begin(tables []string) error {
	var missing []error
	for _, name := range tables {
		if t := l.registry.Table(name); t != nil {
			l.tables = append(l.tables, &merging{Merger: t.Merger(), name: name})
			continue
		}
		missing = append(missing, fmt.Errorf("there is no table %q: a table is there as long as a rule names it; --table names another one", name))
	}
	if len(missing) > 0 {
		return &control.Error{Status: http.StatusNotFound, Err: errors.Join(append(missing, errors.New("nothing was imported"))...)}
	}
	return nil
}

// add takes a record. The records of a table come together.
func (l *loading) add(r *exchange.Record) error {
	if l.to == nil || l.to.name != r.Table || len(l.additions) == additionsAtOnce || len(l.stamps) > stampsAtOnce {
		if err := l.flush(); err != nil {
			return err
		}
		if err := l.turnTo(r.Table); err != nil {
			return err
		}
	}
	from := len(l.stamps)
	for _, t := range r.Times {
		l.stamps = append(l.stamps, l.wall.Jiffies(time.UnixMicro(t)))
	}
	l.additions = append(l.additions, recent.Addition{Addr: r.Address, TTL: r.TTL, Stamps: l.stamps[from:]})
	return nil
}

// turnTo makes a table the one that gets additions.
func (l *loading) turnTo(name string) error {
	if l.to != nil && l.to.name == name {
		return nil
	}
	for _, m := range l.tables {
		if m.name == name {
			l.to = m
			return nil
		}
	}
	return &control.Error{Status: http.StatusBadRequest, Err: fmt.Errorf("table %q is not among those that were named first", name)}
}

// flush merges what is there.
func (l *loading) flush() error {
	if l.to == nil {
		return nil
	}
	switch err := l.to.Add(l.additions); {
	case errors.Is(err, syscall.EIO):
		return fmt.Errorf("table %s is gone, since its last rule is", l.to.name)
	case err != nil:
		return fmt.Errorf("table %s: no memory for more addresses: %w: see 'df' of the directory \"live\" beside the control socket", l.to.name, err)
	}
	l.to.read += len(l.additions)
	l.read += len(l.additions)
	l.additions, l.stamps = l.additions[:0], l.stamps[:0]
	return nil
}

// explain says how far an import came that failed.
func (l *loading) explain(err error) error {
	if l.read == 0 {
		return err
	}
	return fmt.Errorf("%w: %s before that were imported, which the same import again leaves as they are", err, count(l.read, "address"))
}

// tell says what became of each table.
func (l *loading) tell(w io.Writer) error {
	var b strings.Builder
	late := 0
	for _, m := range l.tables {
		fmt.Fprintf(&b, "%s: %s read: %d new, %d changed, %d as they were\n", m.name, count(m.read, "address"), m.New, m.Changed, m.Same)
		if m.Gone > 0 {
			fmt.Fprintf(&b, "%s: no room for all: %s seen least recently left out\n", m.name, count(m.Gone, "address"))
		}
		late += m.Late
	}
	if late > 0 {
		fmt.Fprintf(&b, "%s later than now: they count as now. Compare the clocks of the two machines; a dump of another kernel needs --hz and --now\n", count(late, "time"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
