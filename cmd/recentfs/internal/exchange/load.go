package exchange

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"recentfs/match/jiffies"
)

// Load is what has been read to be imported. Whatever the format was, it is in a
// temporary file as JSON lines, in memory are 24 bytes of each address. So nothing
// is sent before all of it is found right.
type Load struct {
	// Table takes the place of what the files say, unless it is empty.
	Table string
	// Clock is the clock that the stamps of a dump are of, which was written at a
	// moment.
	Clock func(moment time.Time) jiffies.Wall

	spool    *os.File
	out      *bufio.Writer
	size     int64 // of spool and what out has
	keys     []key
	tables   []string
	names    [][]byte // of tables, in JSON
	problems []error
	others   int // problems that are not in it
	line     []byte
}

// key is where in spool a record is, and what the records are sorted by.
type key struct {
	newest int64 // of its times; of no times the latest there is
	at     int64
	size   uint32
	table  uint32 // which of tables
}

const (
	maxProblems = 50
	// maxLine is more than a line with 65535 times.
	maxLine = 4 << 20
)

// Begin makes the temporary file. The caller must Close it.
func (l *Load) Begin() (err error) {
	if l.spool, err = os.CreateTemp("", "recentfs-import-"); err != nil {
		return fmt.Errorf("a temporary file: %w: name another directory by TMPDIR", err)
	}
	l.out = bufio.NewWriterSize(l.spool, bufferSize)
	return os.Remove(l.spool.Name()) // it goes with the process
}

// Close removes what was read.
func (l *Load) Close() error { return l.spool.Close() }

// Count is how many addresses there are.
func (l *Load) Count() int { return len(l.keys) }

// Read reads a file of whatever format. name is for messages, and names the table
// where nothing else does. moment is when the file was written. The error is one of
// reading or writing. What is wrong with the file is kept for Body.
func (l *Load) Read(name string, r io.Reader, moment time.Time) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, bufferSize), maxLine)
	p := parser{load: l, moment: moment}
	if name != "-" {
		p.table = filepath.Base(name)
	}
	var record Record
	n := 1
	for ; lines.Scan(); n++ {
		has, err := p.parse(lines.Bytes(), &record)
		if err == nil && has {
			if record.sort(); l.Table != "" {
				record.Table = l.Table
			}
			err = l.add(&record)
		}
		if failed := new(os.PathError); errors.As(err, &failed) {
			return fmt.Errorf("a temporary file: %w: name another directory by TMPDIR", failed.Err)
		}
		if err != nil {
			l.refuse(fmt.Errorf("%s:%d: %w", name, n, err))
		}
		if errors.Is(err, errNoTable) {
			break // nor has any other line
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		l.refuse(fmt.Errorf("%s:%d: the line has more than %d bytes", name, n, maxLine))
	} else if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// refuse keeps what is wrong.
func (l *Load) refuse(err error) {
	if len(l.problems) == maxProblems {
		l.others++
		return
	}
	l.problems = append(l.problems, err)
}

var errNoTable = errors.New("no table is named: name it by --table")

// add adds a record.
func (l *Load) add(r *Record) error {
	if r.Table == "" {
		return errNoTable
	}
	table := slices.Index(l.tables, r.Table) // there are few
	if table < 0 {
		name, err := quote(r.Table)
		if err != nil {
			return err
		}
		table = len(l.tables)
		l.tables, l.names = append(l.tables, r.Table), append(l.names, name)
	}
	newest := int64(math.MaxInt64)
	if len(r.Times) > 0 {
		newest = r.Times[len(r.Times)-1]
	}
	l.line = r.append(l.line[:0], l.names[table])
	l.keys = append(l.keys, key{newest, l.size, uint32(len(l.line)), uint32(table)})
	l.size += int64(len(l.line))
	_, err := l.out.Write(l.line)
	return err
}

// Body is all that was read, for Decode, and its size. The addresses of a table come
// together, in the order of their newest times. The error is all that is wrong.
func (l *Load) Body() (io.Reader, int64, error) {
	if len(l.problems) > 0 {
		if l.others > 0 {
			l.problems = append(l.problems, fmt.Errorf("and %d other lines", l.others))
		}
		return nil, 0, errors.Join(append(l.problems, errors.New("nothing was imported"))...)
	}
	if err := l.out.Flush(); err != nil {
		return nil, 0, fmt.Errorf("a temporary file: %w: name another directory by TMPDIR", err)
	}
	slices.SortStableFunc(l.keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.newest, b.newest))
	})
	head := append([]byte(`{"tables":[`), bytes.Join(l.names, []byte(","))...)
	head = append(head, "]}\n"...)
	return io.MultiReader(bytes.NewReader(head), &sorted{l.spool, l.keys, nil, nil}), int64(len(head)) + l.size, nil
}

// sorted reads records in the order of their keys.
type sorted struct {
	spool *os.File
	keys  []key  // of those that are to come
	block []byte // of some records
	rest  []byte // of block
}

// Read implements io.Reader.
func (s *sorted) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if len(s.keys) == 0 {
			return 0, io.EOF
		}
		s.block = s.block[:0]
		for len(s.keys) > 0 && len(s.block) < bufferSize {
			k, start := s.keys[0], len(s.block)
			s.block = slices.Grow(s.block, int(k.size))[:start+int(k.size)]
			if _, err := s.spool.ReadAt(s.block[start:], k.at); err != nil {
				return 0, err
			}
			s.keys = s.keys[1:]
		}
		s.rest = s.block
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
