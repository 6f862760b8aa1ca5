package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// live is a directory in memory that has a file for each table's region.
type live struct {
	dir   string
	warn  func(string)
	files atomic.Uint64
}

const (
	tableSuffix = ".table" // of a table's file, after the table's name
	freshSuffix = ".fresh" // of a file that is no table's yet
	badInfix    = ".bad-"  // in the name of a file that was set aside, before the time
	badZone     = "Z"      // the end of such a name: no other file's name ends so
	// step is how many bytes a file gets at a time. A packet waits for about 20 us
	// when a table gets more.
	step = 128 << 10
)

// openLive makes the directory if it is not there.
func openLive(dir string, warn func(string)) (*live, error) {
	if err := makeDir(dir, filepath.Dir(dir)); err != nil {
		return nil, err
	}
	l := &live{dir: dir, warn: warn}
	return l, l.clean(func(name string) bool { return strings.HasSuffix(name, freshSuffix) })
}

// clean removes files by their names.
func (l *live) clean(isOld func(name string) bool) error {
	files, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if isOld(f.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(l.dir, f.Name())))
		}
	}
	return err
}

// Make implements recent.Memory.
func (l *live) Make(size uint64) (recent.Mapping, error) {
	path := filepath.Join(l.dir, fmt.Sprint(l.files.Add(1), freshSuffix))
	// Somebody may have removed the directory, and the one above.
	above := filepath.Dir(l.dir)
	if err := errors.Join(makeOurs(above, filepath.Dir(above)), makeOurs(l.dir, above)); err != nil {
		return nil, err
	}
	file, err := create(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err = file.Truncate(int64(size)); err == nil {
		var m *mapping
		if m, err = l.mapFile(file, path, size); err == nil {
			return m, nil
		}
	}
	return nil, errors.Join(err, file.Close(), os.Remove(path))
}

// path is where a table's file is.
func (l *live) path(table string) string { return filepath.Join(l.dir, table+tableSuffix) }

// open maps a table's file.
func (l *live) open(table string) (*mapping, error) {
	path := l.path(table)
	file, info, err := openFile(path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		setAside(path, errors.New("it is empty"), l.warn)
		err = os.ErrNotExist // it is said
	}
	var m *mapping
	if err == nil {
		m, err = l.mapFile(file, path, uint64(info.Size()))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	m.placed = true
	return m, nil
}

func (l *live) mapFile(file *os.File, path string, size uint64) (*mapping, error) {
	bytes, err := unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap %s: %w", path, err)
	}
	return &mapping{live: l, file: file, path: path, bytes: bytes}, nil
}

// mapping is a table's file, mapped.
type mapping struct {
	live     *live
	file     *os.File
	path     string // where the file is, or was before another took its place
	bytes    []byte
	reserved uint64 // bytes of the file that have memory
	placed   bool   // path is that of a table
}

// Bytes implements recent.Mapping.
func (m *mapping) Bytes() []byte { return m.bytes }

// Reserve implements recent.Mapping. The kernel would end the process (SIGBUS) if
// it touched a page for which there is no memory.
func (m *mapping) Reserve(n uint64) (uint64, error) {
	if n <= m.reserved {
		return m.reserved, nil
	}
	to := min((n+step-1)/step*step, uint64(len(m.bytes)))
	if err := unix.Fallocate(int(m.file.Fd()), 0, int64(m.reserved), int64(to-m.reserved)); err != nil {
		return m.reserved, fmt.Errorf("%s: no memory for more addresses: %w: make its tmpfs larger", m.path, err)
	}
	m.reserved = to
	return to, nil
}

// Place implements recent.Mapping.
func (m *mapping) Place(table string) {
	path := m.live.path(table)
	if path == m.path {
		return
	}
	if err := os.Rename(m.path, path); err != nil {
		m.live.warn(fmt.Sprintf("state: table %s will be lost at the end: %v", table, err))
		return
	}
	m.path, m.placed = path, true
}

// SetAside implements recent.Mapping.
func (m *mapping) SetAside(why error) {
	setAside(m.path, why, m.live.warn)
}

// setAside renames a file that makes no sense, so that somebody may look at it.
func setAside(path string, why error, warn func(string)) {
	now := time.Now()
	bad := path + badInfix + now.UTC().Format("20060102T150405.000000000"+badZone)
	then := fmt.Sprintf("it is %s now", filepath.Base(bad))
	if err := os.Rename(path, bad); err != nil {
		then = err.Error()
	} else if err := touch(bad); err != nil { // for Forget
		then += fmt.Sprintf(": %v", err)
	}
	warn(fmt.Sprintf("state: %s cannot be used: %v: %s", path, why, then))
}

// Remove implements recent.Mapping.
func (m *mapping) Remove() {
	if err := os.Remove(m.path); err != nil {
		m.live.warn(fmt.Sprintf("state: %v", err))
	}
}

// Release implements recent.Mapping. There is nothing that could fail: the mapping
// and the descriptor are ours.
func (m *mapping) Release() {
	if !m.placed {
		_ = os.Remove(m.path)
	}
	_ = m.file.Close()
	_ = unix.Munmap(m.bytes)
}
