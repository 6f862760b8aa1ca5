package report

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Query says which entries of a table to print, and in which order. The zero
// Query is all of them in the order of the file.
type Query struct {
	Sort   Order
	Limit  int           // at most so many, or all if it is 0
	Since  time.Duration // seen last so long ago at most, or ever if it is 0
	Prefix netip.Prefix  // only addresses in it, unless it is the zero Prefix
}

// Order is an order of entries, and a flag's value.
type Order string

// The orders beside the file's own, which is the empty Order.
const (
	ByLast    Order = "last"    // the latest seen first
	ByFirst   Order = "first"   // the latest first seen first
	ByHits    Order = "hits"    // the most hits first
	ByAddress Order = "address" // the lowest first, IPv4 before IPv6
)

// orders are all of them, as a user is told.
var orders = []string{string(ByLast), string(ByFirst), string(ByHits), string(ByAddress)}

func (o Order) String() string { return string(o) }

// Type is the flag's argument in a help text.
func (o *Order) Type() string { return strings.Join(orders, "|") }

// Set reads an order.
func (o *Order) Set(s string) error {
	if !slices.Contains(orders, s) {
		return fmt.Errorf("it is none of %s", strings.Join(orders, ", "))
	}
	*o = Order(s)
	return nil
}

// all reports whether q leaves no entry out.
func (q Query) all() bool {
	return q.Limit == 0 && q.Since == 0 && !q.Prefix.IsValid()
}

func (q Query) wants(e *Entry, m Moment) bool {
	return (!q.Prefix.IsValid() || q.Prefix.Contains(e.Address)) && (q.Since == 0 || m.age(e.Last) <= q.Since)
}

// run hands the wanted entries of a table's file to emit and returns their
// number. An entry is valid until emit returns, and has its stamps only if they are
// asked for. Without Sort it reads no more than it needs, and with Sort it holds
// no more than twice Limit.
func (q Query) run(r io.Reader, m Moment, stamps bool, emit func(*Entry) error) (n int, err error) {
	limit := q.Limit
	if q.Prefix.IsSingleIP() {
		limit = 1 // a table has an address once
	}
	var kept []Entry
	err = Scan(r, func(e *Entry) (bool, error) {
		if !q.wants(e, m) {
			return true, nil
		}
		if q.Sort == "" {
			n++
			return n != limit, emit(e)
		}
		held := *e
		held.Stamps = nil
		if stamps {
			held.Stamps = slices.Clone(e.Stamps)
		}
		if kept = append(kept, held); q.Limit > 0 && len(kept)/2 >= q.Limit {
			kept = q.best(kept, m)
		}
		return true, nil
	})
	if err != nil {
		return n, err
	}
	for _, e := range q.best(kept, m) {
		if err := emit(&e); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// best sorts entries and returns those that the limit lets through.
func (q Query) best(entries []Entry, m Moment) []Entry {
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(q.compare(&a, &b, m), a.Address.Compare(b.Address))
	})
	if q.Limit > 0 && len(entries) > q.Limit {
		clear(entries[q.Limit:]) // their stamps are garbage from now on
		entries = entries[:q.Limit]
	}
	return entries
}

func (q Query) compare(a, b *Entry, m Moment) int {
	switch q.Sort {
	case ByLast:
		return cmp.Compare(m.age(a.Last), m.age(b.Last))
	case ByFirst:
		return cmp.Compare(m.age(a.First), m.age(b.First))
	case ByHits:
		return cmp.Compare(b.Hits, a.Hits)
	}
	return 0
}
