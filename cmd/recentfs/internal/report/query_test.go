package report

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"recentfs/match/jiffies"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestQuery asks a table whose stamps wrap, read a second after the wrap. By last
// octet: .1 was seen last 2 s ago and first 8 s ago; .2 0 s and 0 s; .3 1 s and
// 60 s; the IPv6 address ::4 30 s and 30 s.
func TestQuery(t *testing.T) {
	now := Moment{Now: 100, HZ: 100, Wall: noon.Wall}
	line := func(address string, stamps ...jiffies.Jiffies) string {
		s := fmt.Sprintf("src=%s ttl: 1 last_seen: %d oldest_pkt: 0 %d", address, now.Now-100*stamps[0], now.Now-100*stamps[0])
		for _, ago := range stamps[1:] {
			s += fmt.Sprintf(", %d", now.Now-100*ago)
		}
		return s + "\n"
	}
	table := line("192.0.2.1", 2, 8) + line("192.0.2.2", 0) + line("192.0.2.3", 1, 60, 2) +
		line("2001:0db8:0000:0000:0000:0000:0000:0004", 30)
	for _, c := range []struct {
		name  string
		query Query
		want  string // last digits of the addresses
	}{
		{"all", Query{}, "1234"},
		{"limit", Query{Limit: 2}, "12"},
		{"a limit that is no limit", Query{Limit: 4}, "1234"},
		{"latest first", Query{Sort: ByLast}, "2314"},
		{"latest first seen first", Query{Sort: ByFirst}, "2143"},
		{"most hits first", Query{Sort: ByHits}, "3124"},
		{"by address", Query{Sort: ByAddress}, "1234"},
		{"the latest two", Query{Sort: ByLast, Limit: 2}, "23"},
		{"the one with the most hits", Query{Sort: ByHits, Limit: 1}, "3"},
		{"more than there are", Query{Sort: ByLast, Limit: 5}, "2314"},
		{"more than a number can hold twice", Query{Sort: ByLast, Limit: 1<<63 - 1}, "2314"},
		{"since", Query{Since: 2 * time.Second}, "123"},
		{"since, to the jiffy", Query{Since: 2*time.Second - 1}, "23"},
		{"an address", Query{Prefix: prefix("192.0.2.3/32")}, "3"},
		{"an address, sorted", Query{Prefix: prefix("192.0.2.3/32"), Sort: ByLast}, "3"},
		{"an IPv6 address", Query{Prefix: prefix("2001:db8::4/128")}, "4"},
		{"a prefix", Query{Prefix: prefix("192.0.2.2/31")}, "23"},
		{"all of IPv4", Query{Prefix: prefix("0.0.0.0/0")}, "123"},
		{"all of IPv6", Query{Prefix: prefix("::/0")}, "4"},
		{"a prefix and more", Query{Prefix: prefix("192.0.2.0/24"), Since: 5 * time.Second, Sort: ByLast, Limit: 2}, "23"},
		{"an address in another family's clothes", Query{Prefix: prefix("::ffff:192.0.2.3/128")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			n, err := c.query.run(strings.NewReader(table), now, false, func(e *Entry) error {
				text := e.Address.String()
				got += text[len(text)-1:]
				if c.query.Sort != "" && e.Stamps != nil {
					t.Errorf("%v has stamps that are another's by now", e.Address)
				}
				return nil
			})
			if err != nil || got != c.want || n != len(c.want) {
				t.Errorf("%d entries %q, %v; want %q", n, got, err, c.want)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	for _, s := range strings.Split(new(Order).Type(), "|") {
		if o := Order(""); o.Set(s) != nil || o.String() != s {
			t.Errorf("%s becomes %s", s, o)
		}
	}
	if o := Order(""); o.Set("age") == nil || o != "" {
		t.Error("an order of that name is not refused")
	}
}

// endless is a table without an end. It counts what has been read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	const line = "src=192.0.2.1 ttl: 64 last_seen: 999750 oldest_pkt: 2 999000, 999750\n"
	if len(p) < len(line) {
		return 0, io.ErrShortBuffer
	}
	e.read++
	return copy(p, line), nil
}

// TestStreams wants no more to be read than is printed, and nothing allocated for
// a line.
func TestStreams(t *testing.T) {
	full := errors.New("full")
	for name, print := range map[string]func(io.Writer, string, io.Reader, Moment, Query) (int, error){"text": Print, "JSON": PrintJSON} {
		t.Run(name, func(t *testing.T) {
			for _, q := range []Query{{Limit: 1000}, {Prefix: prefix("192.0.2.1/32")}} {
				table := new(endless)
				if n, err := print(io.Discard, "T", table, noon, q); err != nil || table.read > n+1 {
					t.Errorf("%+v: %d lines are read for %d rows, %v", q, table.read, n, err)
				}
			}
			table := new(endless)
			if _, err := print(failing{full}, "T", table, noon, Query{}); err != full || table.read > 10_000 {
				t.Errorf("where nothing can be written: %v after %d lines", err, table.read)
			}
			lines := func(n int) float64 {
				return testing.AllocsPerRun(5, func() { print(io.Discard, "T", new(endless), noon, Query{Limit: n}) })
			}
			if few, many := lines(1000), lines(20_000); many > few+10 {
				t.Errorf("1000 lines allocate %v times, 20000 lines %v times", few, many)
			}
		})
	}
}

// TestHoldsFew finds the best of many among few that it holds.
func TestHoldsFew(t *testing.T) {
	table := strings.NewReader(strings.Repeat(lines, 10_000))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := (Query{Sort: ByHits, Limit: 3}).run(table, noon, true, func(e *Entry) error {
		if e.Hits != 3 || len(e.Stamps) != 3 {
			t.Errorf("%+v is not one of the best", e)
		}
		return nil
	})
	runtime.ReadMemStats(&after)
	if held := after.TotalAlloc - before.TotalAlloc; n != 3 || err != nil || held > 2<<20 {
		t.Errorf("%d entries, %v; %d bytes allocated", n, err, held)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
