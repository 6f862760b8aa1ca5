package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Print prints the entries of a table's file that q wants for people, as they
// are read, and returns their number. m is when they were read.
func Print(w io.Writer, table string, r io.Reader, m Moment, q Query) (int, error) {
	out := bufio.NewWriterSize(w, outBuffer)
	p := printer{out: out, table: table, moment: m}
	n, err := q.run(r, m, false, p.add)
	if err == nil {
		err = p.flush()
	}
	if err != nil {
		out.Flush() // what has been read is worth printing
		return n, err
	}
	if n == 0 && q.Prefix.IsValid() {
		return n, nil // nothing, as grep does
	}
	noun, shown := "addresses", ""
	if n == 1 {
		noun = "address"
	}
	if !q.all() {
		shown = " shown"
	}
	fmt.Fprintf(out, "%s: %d %s%s\n", table, n, noun, shown)
	return n, out.Flush()
}

const outBuffer = 64 << 10

// printer prints rows in groups, so that the columns of a small table are as wide
// as they need to be and a large table is printed while it is read.
type printer struct {
	out    *bufio.Writer
	table  string
	moment Moment
	rows   []Entry // without stamps
	width  int     // of the addresses: 0 before the heading
	line   []byte
}

const (
	groupSize  = 256
	hitsWidth  = len("65535")
	timeWidth  = len(time.DateTime)
	agoWidth   = len("59m59s ago")
	ttlHeading = "TTL\n"
)

func (p *printer) add(e *Entry) error {
	p.rows = append(p.rows, *e)
	if len(p.rows) < groupSize {
		return nil
	}
	return p.flush()
}

// flush prints the rows of the group.
func (p *printer) flush() error {
	if len(p.rows) == 0 {
		return nil
	}
	heading := p.width == 0
	var text [len("2001:0db8:0000:0000:0000:0000:0000:0001")]byte
	for _, r := range p.rows {
		p.width = max(p.width, len("ADDRESS"), len(r.Address.AppendTo(text[:0])))
	}
	if heading {
		fmt.Fprintf(p.out, "%s\n  %-*s  %-*s  %-*s  %-*s  %s", p.table, p.width, "ADDRESS", hitsWidth, "HITS",
			timeWidth+agoWidth+2, "FIRST SEEN", timeWidth+agoWidth+2, "LAST SEEN", ttlHeading)
	}
	for _, r := range p.rows {
		p.line = r.appendRow(p.line[:0], p.width, p.moment)
		if _, err := p.out.Write(p.line); err != nil {
			return err
		}
	}
	p.rows = p.rows[:0]
	return nil
}

func (e *Entry) appendRow(b []byte, width int, m Moment) []byte {
	b = append(b, "  "...)
	b = pad(e.Address.AppendTo(b), len(b), width)
	b = pad(strconv.AppendInt(b, int64(e.Hits), 10), len(b), hitsWidth)
	first, last := m.age(e.First), m.age(e.Last)
	for _, age := range []time.Duration{first, last} {
		b = pad(m.Wall.Add(-age).AppendFormat(b, time.DateTime), len(b), timeWidth)
		b = pad(appendAgo(b, age), len(b), agoWidth)
	}
	return append(strconv.AppendUint(b, uint64(e.TTL), 10), '\n')
}

// pad fills the column that starts at start, and separates it from the next.
func pad(b []byte, start, width int) []byte {
	for len(b) < start+width+2 {
		b = append(b, ' ')
	}
	return b
}

// appendAgo appends an age in at most two units.
func appendAgo(b []byte, age time.Duration) []byte {
	s := int64(age / time.Second)
	two := func(n int64, unit string) {
		b = append(b, '0'+byte(n/10), '0'+byte(n%10))
		b = append(b, unit...)
	}
	one := func(n int64, unit string) {
		b = append(strconv.AppendInt(b, n, 10), unit...)
	}
	switch {
	case s < 60:
		one(s, "s")
	case s < 3600:
		one(s/60, "m")
		two(s%60, "s")
	case s < 24*3600:
		one(s/3600, "h")
		two(s/60%60, "m")
	default:
		one(s/86400, "d")
		two(s/3600%24, "h")
	}
	return append(b, " ago"...)
}

// PrintJSON is Print for programs: an object a line for each entry.
func PrintJSON(w io.Writer, table string, r io.Reader, m Moment, q Query) (int, error) {
	name, err := json.Marshal(table)
	if err != nil {
		return 0, err
	}
	out := bufio.NewWriterSize(w, outBuffer)
	var line []byte
	n, err := q.run(r, m, true, func(e *Entry) error {
		line = append(append(line[:0], `{"table":`...), name...)
		line = append(e.appendFields(append(line, ','), m), "}\n"...)
		_, err := out.Write(line)
		return err
	})
	if failed := out.Flush(); err == nil {
		err = failed
	}
	return n, err
}

// Objects returns the entries of a table's file that q wants, each as JSON.
func Objects(r io.Reader, m Moment, q Query) ([]json.RawMessage, error) {
	objects := []json.RawMessage{} // JSON has a list of none where null would be a surprise
	_, err := q.run(r, m, true, func(e *Entry) error {
		objects = append(objects, append(e.appendFields([]byte("{"), m), '}'))
		return nil
	})
	return objects, err
}

// appendFields appends the fields of e's JSON object.
func (e *Entry) appendFields(b []byte, m Moment) []byte {
	b = append(e.Address.AppendTo(append(b, `"address":"`...)), `","ttl":`...)
	b = strconv.AppendUint(b, uint64(e.TTL), 10)
	b = strconv.AppendInt(append(b, `,"hits":`...), int64(e.Hits), 10)
	first, last := m.age(e.First), m.age(e.Last)
	b = m.Wall.Add(-first).AppendFormat(append(b, `,"first_seen":"`...), time.RFC3339Nano)
	b = m.Wall.Add(-last).AppendFormat(append(b, `","last_seen":"`...), time.RFC3339Nano)
	b = strconv.AppendFloat(append(b, `","first_seen_seconds_ago":`...), first.Seconds(), 'f', -1, 64)
	b = strconv.AppendFloat(append(b, `,"last_seen_seconds_ago":`...), last.Seconds(), 'f', -1, 64)
	b = append(b, `,"stamps":[`...)
	for i, stamp := range e.Stamps {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, stamp, 10)
	}
	return append(b, ']')
}
