// Package report reads the lines of a table's file and prints them for people
// and for programs. A table of a million addresses passes through in little
// memory, since nothing is allocated for a line.
package report

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"time"

	"recentfs/match/jiffies"
)

// Entry is an address of a table.
type Entry struct {
	Address netip.Addr
	TTL     uint8
	First   jiffies.Jiffies // the earliest of the stamps
	Last    jiffies.Jiffies
	Oldest  int      // oldest_pkt: the place after that of the last stamp
	Hits    int      // as many as the table keeps, at most
	Stamps  []uint64 // in the order of the line
}

// Moment ties a reading of jiffies to the time of day.
type Moment struct {
	Now  jiffies.Jiffies
	HZ   uint32
	Wall time.Time
}

// age is how long ago a stamp was made. A jiffy that has just begun counts as
// no time.
func (m Moment) age(stamp jiffies.Jiffies) time.Duration {
	return max(0, jiffies.Duration(m.Now.Sub(stamp), m.HZ))
}

const (
	firstBuffer = 64 << 10
	// maxLine is more than a line with 65535 stamps of 20 digits.
	maxLine = 2 << 20
)

// Scan hands each line of a table's file to visit, until visit says that this is
// enough. The entry and its stamps are valid until visit returns.
func Scan(r io.Reader, visit func(*Entry) (more bool, err error)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, firstBuffer), maxLine)
	var e Entry
	for lines.Scan() {
		if !e.Parse(lines.Bytes()) {
			return fmt.Errorf("%.60q is no line of a table", lines.Bytes())
		}
		if more, err := visit(&e); err != nil || !more {
			return err
		}
	}
	return lines.Err()
}

// Parse reads "src=ADDRESS ttl: N last_seen: N oldest_pkt: N N, N", which
// recent_seq_show forms.
func (e *Entry) Parse(line []byte) bool {
	t := text{rest: line}
	t.skip("src=")
	e.Address = t.address()
	t.skip(" ttl: ")
	e.TTL = uint8(t.number(1<<8 - 1))
	t.skip(" last_seen: ")
	e.Last = jiffies.Jiffies(t.number(1<<64 - 1))
	t.skip(" oldest_pkt: ")
	e.Oldest = int(t.number(1<<16 - 1))
	e.First, e.Stamps = e.Last, e.Stamps[:0]
	for separator := " "; !t.bad && (len(t.rest) > 0 || separator == " "); separator = ", " {
		t.skip(separator)
		stamp := t.number(1<<64 - 1)
		e.Stamps = append(e.Stamps, stamp)
		if e.First.After(jiffies.Jiffies(stamp)) {
			e.First = jiffies.Jiffies(stamp)
		}
	}
	e.Hits = len(e.Stamps)
	return !t.bad
}

// text is the part of a line that has not been read. A mistake makes it bad for
// good.
type text struct {
	rest []byte
	bad  bool
}

// skip passes a word that must come now.
func (t *text) skip(word string) {
	if len(t.rest) < len(word) || string(t.rest[:len(word)]) != word {
		t.bad = true
		return
	}
	t.rest = t.rest[len(word):]
}

// number reads decimal digits, as many as there are.
func (t *text) number(limit uint64) (n uint64) {
	i := 0
	for ; i < len(t.rest) && t.rest[i]-'0' <= 9; i++ {
		digit := uint64(t.rest[i] - '0')
		if n > limit/10 || n*10 > limit-digit {
			t.bad = true
			return 0
		}
		n = n*10 + digit
	}
	t.bad = t.bad || i == 0
	t.rest = t.rest[i:]
	return n
}

// address reads what %pI4 or %pI6 printed: 192.0.2.1, or eight groups of four
// hexadecimal digits.
func (t *text) address() (a netip.Addr) {
	if end := bytes.IndexByte(t.rest, ' '); end == len("2001:0db8:0000:0000:0000:0000:0000:0001") {
		return t.address6()
	}
	var b [4]byte
	for i := range b {
		if i > 0 {
			t.skip(".")
		}
		b[i] = byte(t.number(1<<8 - 1))
	}
	return netip.AddrFrom4(b)
}

func (t *text) address6() netip.Addr {
	var b [16]byte
	for i := range 2 * len(b) {
		if i > 0 && i%4 == 0 {
			t.skip(":")
		}
		if t.bad {
			return netip.Addr{}
		}
		digit := t.rest[0]
		switch {
		case digit-'0' <= 9:
			digit -= '0'
		case digit-'a' < 6:
			digit -= 'a' - 10
		default:
			t.bad = true
		}
		b[i/2] = b[i/2]<<4 | digit
		t.rest = t.rest[1:]
	}
	return netip.AddrFrom16(b)
}
