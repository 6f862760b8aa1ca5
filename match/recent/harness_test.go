package recent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

const testHZ = 250

// world is a registry with a clock that a test moves by hand.
type world struct {
	testing.TB
	*Registry
	clock *jiffies.Manual
	rules map[string]*Rule
	watch func(Event) // what hears the registry's events, or nil

	receipt *Receipt // of the packets, or nil
}

// aPacket is the id of every packet that has a receipt.
const aPacket = 7

func newWorld(tb testing.TB, change func(*Params), compat Compat) *world {
	tb.Helper()
	p := DefaultParams(compat)
	if change != nil {
		change(&p)
	}
	clock := jiffies.NewManual(1000, testHZ)
	m, err := NewModule(p, clock)
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{TB: tb, clock: clock}
	w.Registry = m.NewRegistry(func(e Event) {
		if w.watch != nil {
			w.watch(e)
		}
	})
	return w
}

func (w *world) rule(info Info) *Rule {
	w.Helper()
	if info.Name == "" {
		info.Name = "t"
	}
	if info.Mask == [16]byte{} {
		info.Mask = AllOnes
	}
	rule, err := check(w.Registry, info)
	if err != nil {
		w.Fatal(err)
	}
	return rule
}

// reload changes the parameters, with rules that go at once.
func (w *world) reload(change func(*Params), infos ...Info) (moved []Resized) {
	w.Helper()
	p := w.module.Params()
	change(&p)
	l, err := w.module.Reload(p)
	if err != nil {
		w.Fatal(err)
	}
	for i := range infos {
		infos[i].Mask = AllOnes
		if infos[i].Name == "" {
			infos[i].Name = "t"
		}
	}
	rules, err := l.CheckAll(w.Registry, infos)
	if err != nil {
		w.Fatal(err)
	}
	moved = append(l.Widen(), l.Finish()...)
	for _, rule := range rules {
		w.Destroy(rule)
	}
	return moved
}

// check makes one rule.
func check(r *Registry, info Info) (*Rule, error) {
	rules, err := r.CheckAll([]Info{info})
	if err != nil {
		return nil, err
	}
	return rules[0], nil
}

// arrives matches a rule against a packet from src that came in by a device.
func (w *world) arrives(r *Rule, src string, ttl uint8) bool { return w.packet(r, src, ttl, false) }

func (w *world) packet(r *Rule, src string, ttl uint8, leaving bool) bool {
	family, a := bytesOf(src)
	if w.receipt == nil {
		return once(r, w.clock.Now(), family, &a, &a, ttl, leaving)
	}
	b := Batch{Receipt: w.receipt}
	defer b.End()
	b.Begin(aPacket)
	return r.Match(&b, w.clock.Now(), family, &a, &a, ttl, leaving)
}

// once matches one rule against one packet.
func once(r *Rule, now jiffies.Jiffies, family uint8, src, dst *[16]byte, ttl uint8, leaving bool) bool {
	var b Batch
	defer b.End()
	return r.Match(&b, now, family, src, dst, ttl, leaving)
}

func bytesOf(s string) (family uint8, b [16]byte) {
	a := netip.MustParseAddr(s)
	if a.Is4() {
		copy(b[:], a.AsSlice())
		return unix.NFPROTO_IPV4, b
	}
	return unix.NFPROTO_IPV6, a.As16()
}

func (w *world) write(table, text string) error {
	w.Helper()
	_, _, err := w.Table(table).Write([]byte(text), 0)
	return err
}

// lines are the table's lines, sorted.
func (w *world) lines(table string) []string {
	w.Helper()
	all := slices.Collect(strings.Lines(string(w.read(w.Table(table).Cursor(), 4096))))
	for i := range all {
		all[i] = strings.TrimSuffix(all[i], "\n")
	}
	slices.Sort(all)
	return all
}

// read reads a cursor to its end, size bytes at a time.
func (w *world) read(c *Cursor, size int) []byte {
	w.Helper()
	var text []byte
	buf := make([]byte, size)
	for {
		n, err := c.ReadAt(buf, int64(len(text)))
		if err != nil {
			w.Fatal(err)
		}
		if n == 0 {
			return text
		}
		text = append(text, buf[:n]...)
	}
}

// want compares the table's lines.
func (w *world) want(table string, lines ...string) {
	w.Helper()
	slices.Sort(lines)
	if got := w.lines(table); !slices.Equal(got, lines) {
		w.Errorf("table %s holds\n  %s\nwant\n  %s", table, strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}
