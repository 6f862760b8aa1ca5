// Package state keeps the tables of a network namespace beyond the end of a
// process, and beyond a boot.
//
// The region of each table is a file in memory (tmpfs), which is mapped and shared:
// what a process has stored there stays when it is killed. match/recent has its
// format, and finishes what was half done.
//
// A snapshot of it is a file on a disk: an image of the region (recent.WriteImage)
// between a preface and a checksum. It says when it was made, so that the stamps can
// be moved to the clock of another boot.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// Dir keeps the tables of one network namespace: a recent.Memory. One process uses
// it at a time.
type Dir struct {
	live  *live
	saved string // the directory of the snapshots
	clock jiffies.Clock
	now   func() time.Time
	warn  func(string)

	written map[string]change // by table: what its snapshot has. Save alone uses it
}

// change is a table's state at some time.
type change struct {
	id, changes uint64
}

// Open opens the two directories, and makes them if they are not there. live must be
// on a tmpfs. warn takes what the user should know, a line each.
func Open(live, saved string, clock jiffies.Clock, warn func(string)) (*Dir, error) {
	l, err := openLive(live, warn)
	if err != nil {
		return nil, err
	}
	if err := makeDir(saved, filepath.Dir(saved)); err != nil && !errors.Is(err, unix.EROFS) { // Save says so
		return nil, err
	}
	return &Dir{live: l, saved: saved, clock: clock, now: time.Now, warn: warn, written: make(map[string]change)}, nil
}

// Make implements recent.Memory.
func (d *Dir) Make(size uint64) (recent.Mapping, error) { return d.live.Make(size) }

// Find implements recent.Memory: first what is in memory, then the last snapshot,
// then the one before it.
func (d *Dir) Find(table string) []recent.Left {
	all := []recent.Left{{Open: func() (recent.Mapping, error) {
		m, err := d.live.open(table)
		if err != nil {
			return nil, d.complain(err)
		}
		return m, nil
	}}}
	for _, path := range []string{d.path(table), d.path(table) + beforeSuffix} {
		var move func(jiffies.Jiffies) jiffies.Jiffies
		all = append(all, recent.Left{
			Open: func() (m recent.Mapping, err error) {
				m, move, err = d.restore(path)
				return m, d.complain(err)
			},
			Now: func(stamp jiffies.Jiffies) jiffies.Jiffies { return move(stamp) },
		})
	}
	return all
}

// complain says an error, but not that a file is not there.
func (d *Dir) complain(err error) error {
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.warn(fmt.Sprintf("state: %v", err))
	}
	return err
}

// Clean removes what is left in memory of tables that are not among those. No other
// may be made meanwhile.
func (d *Dir) Clean(tables []*recent.Table) error {
	inUse := names(tables)
	return d.live.clean(func(name string) bool {
		table, ok := strings.CutSuffix(name, tableSuffix)
		return ok && !inUse[table]
	})
}

// Check says which tables have no file in memory any more, since somebody removed it.
// None of them may come or go meanwhile.
func (d *Dir) Check(tables []*recent.Table) error {
	var errs []error
	for _, t := range tables {
		if _, err := os.Lstat(d.live.path(t.Name())); err != nil {
			errs = append(errs, fmt.Errorf("table %s has lost its file in memory: %w", t.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// inUseAge is how old the time of a snapshot may become while its table has a rule.
const inUseAge = 24 * time.Hour

// Forget removes the snapshots of tables that are not among those, and have not been
// for as long as keep. A file's time says so: those of the others are renewed. It also
// removes what was set aside for as long.
func (d *Dir) Forget(tables []*recent.Table, keep time.Duration) error {
	inUse := names(tables)
	return errors.Join(d.forget(d.saved, inUse, keep), d.forget(d.live.dir, inUse, keep))
}

func (d *Dir) forget(dir string, inUse map[string]bool, keep time.Duration) error {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, f := range files {
		table, saved := tableOf(f.Name())
		bad := strings.Contains(f.Name(), badInfix) && strings.HasSuffix(f.Name(), badZone)
		info, err := f.Info()
		if !saved && !bad || err != nil { // or it has just gone
			continue
		}
		path, now := filepath.Join(dir, f.Name()), d.now()
		switch age := now.Sub(info.ModTime()); {
		case inUse[table] && age > inUseAge:
			errs = append(errs, touch(path))
		case !inUse[table] && age > keep:
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

func names(tables []*recent.Table) map[string]bool {
	all := make(map[string]bool)
	for _, t := range tables {
		all[t.Name()] = true
	}
	return all
}

// Remove removes all that is kept, since the namespace is gone.
func (d *Dir) Remove() error {
	return errors.Join(os.RemoveAll(d.live.dir), os.RemoveAll(d.saved))
}

// tableOf is the table whose snapshot has that name.
func tableOf(name string) (table string, ok bool) {
	return strings.CutSuffix(strings.TrimSuffix(name, beforeSuffix), savedSuffix)
}
