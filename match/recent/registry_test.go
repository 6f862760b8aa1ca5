package recent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

func TestNewModuleChecksParams(t *testing.T) {
	if _, err := NewModule(Params{}, jiffies.NewManual(0, testHZ)); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("ip_list_tot=0: %v", err)
	}
}

func TestReferences(t *testing.T) {
	w := newWorld(t, nil, Classic)
	var events []Event
	w.watch = func(e Event) {
		events = append(events, e)
		// No lock is held, and what the event says is so already.
		if shown := w.Table(e.Table.Name()); e.Gone != (shown == nil) || e.Gone != e.Table.Gone() {
			t.Errorf("at the event %+v the registry has %v", e, shown)
		}
	}
	a, b := w.rule(Info{CheckSet: Set}), w.rule(Info{CheckSet: Check})
	w.arrives(a, "192.0.2.1", 64)
	table, cursor := w.Table("t"), w.Table("t").Cursor()
	w.Destroy(a)
	w.want("t", "src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000")
	w.Destroy(b)
	if w.Table("t") != nil || len(w.Tables()) != 0 {
		t.Error("a table outlives its last rule")
	}
	if want := []Event{{Table: table}, {Table: table, Gone: true}}; !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}

	// A rule or an open file of the table finds nothing and does no harm.
	for _, pos := range []int64{0, 5} {
		if _, err := cursor.ReadAt(make([]byte, 10), pos); !errors.Is(err, syscall.EIO) {
			t.Errorf("read of a table that is gone, at %d: %v", pos, err)
		}
	}
	for _, text := range []string{"+1.2.3.4", "-1.2.3.4", "/", "+1.2.3.400", "no address"} {
		for _, pos := range []int64{0, 1} {
			if n, next, err := table.Write([]byte(text), pos); n != 0 || next != pos || !errors.Is(err, syscall.EIO) {
				t.Errorf("write of %s at %d to a table that is gone: %d, %d, %v", text, pos, n, next, err)
			}
		}
	}
	if err := table.Chattr(func(*Attr) {}); !errors.Is(err, syscall.EIO) {
		t.Errorf("chmod of a table that is gone: %v", err)
	}
	if w.arrives(a, "192.0.2.1", 64) {
		t.Error("a rule without a table matches")
	}

	again := w.rule(Info{CheckSet: Set})
	defer w.Destroy(again)
	w.want("t")
	if w.Table("t").ID() == table.ID() {
		t.Error("a new table has the number of one that is gone")
	}
}

func TestTablesOrder(t *testing.T) {
	w := newWorld(t, nil, Classic)
	for _, name := range []string{"bb", "a", "ccc", "ab", "c"} {
		w.rule(Info{CheckSet: Set, Name: name})
	}
	var names []string
	for _, table := range w.Tables() {
		names = append(names, table.Name())
	}
	if want := []string{"a", "c", "ab", "bb", "ccc"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

func TestAttr(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.Perms, p.UID, p.GID = 0o600, 7, 8 }, Classic)
	w.rule(Info{CheckSet: Set})
	table := w.Table("t")
	if got := table.Attr(); got != (Attr{0o600, 7, 8}) {
		t.Errorf("a new table's file is %+v", got)
	}
	if err := table.Chattr(func(a *Attr) { a.Perms = 0o640 }); err != nil || table.Attr().Perms != 0o640 {
		t.Errorf("chmod: %v, %+v", err, table.Attr())
	}
	w = newWorld(t, func(p *Params) { p.Perms = 0 }, Classic)
	w.rule(Info{CheckSet: Set})
	if got := w.Table("t").Attr().Perms; got != 0o444 {
		t.Errorf("ip_list_perms=0 makes a file of mode %o", got)
	}
}

// TestTooLargeChangesNothing asks for more memory than there are addresses.
func TestTooLargeChangesNothing(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.ListTot = MaxListTot }, Modern)
	const why = "1073741824 addresses of 65536 stamps need 536903680 MB of address space, more than this machine gives: lower ip_list_tot, ip_pkt_list_tot or --hitcount"
	if _, err := check(w.Registry, Info{Name: "t", CheckSet: Check, HitCount: 65535, Mask: AllOnes}); !errors.Is(err, syscall.ENOMEM) || !strings.HasSuffix(err.Error(), why) {
		t.Errorf("a table of 512 TB: %v, want %s", err, why)
	}
	if len(w.Tables()) != 0 {
		t.Error("a refused rule left a table")
	}
}

// TestConcurrent has packets, writers, readers, and rules that come and go, all at
// once. The race detector and the lines show whether that is right.
func TestConcurrent(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.ListTot = 50 }, Modern)
	set, check := w.rule(Info{CheckSet: Set}), w.rule(Info{CheckSet: Update, Seconds: 1, HitCount: 3})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				src := fmt.Sprintf("10.0.%d.%d", g, i%40)
				switch g % 4 {
				case 0:
					w.arrives(set, src, 64)
				case 1:
					w.arrives(check, src, 64)
					if err := w.write("t", "+"+src); err != nil {
						t.Error(err)
					}
					if i%100 == 99 {
						if err := w.write("t", "/"); err != nil {
							t.Error(err)
						}
					}
				case 2:
					checkLines(t, w.read(w.Table("t").Cursor(), 100+i))
				case 3:
					rule := w.rule(Info{CheckSet: Check, HitCount: uint32(1 + i)})
					short := w.rule(Info{CheckSet: Set, Name: fmt.Sprint(g, i%3)})
					w.Destroy(short)
					w.Destroy(rule)
				}
			}
		})
	}
	wg.Wait()
}

// TestReadersSeeWhatStays reads a table while packets update all of it.
func TestReadersSeeWhatStays(t *testing.T) {
	w := newWorld(t, nil, Classic)
	set := w.rule(Info{CheckSet: Set})
	hosts := make([]string, 60)
	for i := range hosts {
		hosts[i] = fmt.Sprintf("10.0.0.%d", i)
		w.arrives(set, hosts[i], 64)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				if g%2 == 0 {
					w.arrives(set, hosts[(7*i)%len(hosts)], 64)
					if err := w.write("t", fmt.Sprintf("+10.1.0.%d", i%40)); err != nil {
						t.Error(err)
					}
					if err := w.write("t", fmt.Sprintf("-10.1.0.%d", i%40)); err != nil {
						t.Error(err)
					}
					continue
				}
				seen := checkLines(t, w.read(w.Table("t").Cursor(), 64+i*50))
				for _, host := range hosts {
					if seen[host] != 1 {
						t.Errorf("%s stays and appears %d times", host, seen[host])
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestReleasedMemoryIsNotTouched(t *testing.T) {
	w := newWorld(t, nil, Classic)
	rule := w.rule(Info{CheckSet: Set})
	table := w.Table("t")
	w.Destroy(rule)
	_, a := bytesOf("192.0.2.1")
	for _, set := range []Flags{Check, Update, Remove, Set} {
		r := &Rule{info: Info{CheckSet: set}, table: table}
		if once(r, 0, unix.NFPROTO_IPV4, &a, &a, 64, false) {
			t.Errorf("flags %#x match in a table that is gone", set)
		}
	}
}
