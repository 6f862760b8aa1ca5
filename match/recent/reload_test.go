package recent

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// TestReload changes parameters and rules together, step by step, and takes the
// same change back before it is carried out.
func TestReload(t *testing.T) {
	type size struct{ limit, ring uint32 }
	for _, c := range []struct {
		name            string
		compat          Compat
		tot, toTot      uint32 // ip_list_tot, for 10 addresses that come
		pkt, toPkt      uint32 // ip_pkt_list_tot, for 12 packets from the last of them
		hits, toHits    uint32 // --hitcount of the rule
		widened, wanted size   // after Widen, and at the end
		kept, stamps    int    // addresses, and stamps of the last
	}{
		{"the same", Classic, 100, 100, 20, 20, 4, 4, size{100, 20}, size{100, 20}, 10, 12},
		{"more stamps", Classic, 100, 100, 20, 40, 4, 4, size{100, 40}, size{100, 40}, 10, 12},
		{"more stamps for a new hitcount", Classic, 100, 100, 20, 40, 4, 30, size{100, 40}, size{100, 40}, 10, 12},
		{"fewer stamps", Classic, 100, 100, 20, 5, 4, 4, size{100, 20}, size{100, 5}, 10, 5},
		{"more addresses", Classic, 100, 200, 20, 20, 4, 4, size{100, 20}, size{200, 20}, 10, 12},
		{"fewer addresses", Classic, 100, 3, 20, 20, 4, 4, size{100, 20}, size{3, 20}, 3, 12},
		{"fewer addresses, more stamps", Classic, 100, 3, 20, 40, 4, 4, size{3, 40}, size{3, 40}, 3, 12},
		{"modern: a lower hitcount", Modern, 100, 100, 0, 0, 12, 4, size{100, 16}, size{100, 16}, 10, 12},
		{"modern: a higher hitcount", Modern, 100, 100, 0, 0, 16, 17, size{100, 32}, size{100, 32}, 0, 0},
		{"modern: more addresses, a lower hitcount", Modern, 100, 200, 0, 0, 12, 4, size{100, 16}, size{200, 16}, 10, 12},
		{"modern: more addresses, a higher hitcount", Modern, 100, 200, 0, 0, 16, 17, size{200, 32}, size{200, 32}, 10, 12},
		{"modern: more stamps", Modern, 100, 100, 0, 60, 16, 16, size{100, 64}, size{100, 64}, 10, 12},
		{"modern: as rules need", Modern, 100, 100, 60, 0, 4, 4, size{100, 64}, size{100, 4}, 10, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.ListTot, p.PktListTot = c.tot, c.pkt }, c.compat)
			rule := w.rule(Info{CheckSet: Update, HitCount: c.hits, Seconds: 1})
			for i := range 10 {
				_ = w.write("t", fmt.Sprintf("+192.0.2.%d", i))
			}
			for range 11 {
				_ = w.write("t", "+192.0.2.9")
			}
			is := func(step string, tot, pkt uint32, want size, kept, stamps int) {
				t.Helper()
				lines := w.lines("t")
				last := 0
				if len(lines) > 0 {
					last = strings.Count(lines[len(lines)-1], ",") + 1
				}
				limit, ring := w.Table("t").size()
				p := w.module.Params()
				if limit != want.limit || ring != want.ring || len(lines) != kept || last != stamps || p.ListTot != tot || p.PktListTot != pkt {
					t.Errorf("%s: %d of %d addresses, %d of %d stamps, parameters %+v", step, len(lines), limit, last, ring, p)
				}
			}
			p := w.module.Params()
			was := size{c.tot, p.Ring(c.hits)}
			is("at first", c.tot, c.pkt, was, 10, 12)

			p.ListTot, p.PktListTot = c.toTot, c.toPkt
			for _, cancel := range []bool{true, false} {
				l, err := w.module.Reload(p)
				if err != nil {
					t.Fatal(err)
				}
				rules, err := l.CheckAll(w.Registry, []Info{
					{Name: "new", CheckSet: Set, Mask: AllOnes},
					{Name: "t", CheckSet: Update, HitCount: c.toHits, Seconds: 1, Mask: AllOnes},
				})
				if err != nil {
					t.Fatal(err)
				}
				if rules[1].Ring() != c.wanted.ring {
					t.Errorf("the rule counts in %d stamps", rules[1].Ring())
				}
				if limit, ring := w.Table("new").size(); limit != c.toTot || ring != p.Ring(0) {
					t.Errorf("a new table has room for %d addresses of %d stamps", limit, ring)
				}
				is("prepared", c.tot, c.pkt, was, 10, 12)
				if cancel {
					l.Cancel()
					w.Destroy(rules[0])
					w.Destroy(rules[1])
					is("cancelled", c.tot, c.pkt, was, 10, 12)
					continue
				}
				moved := l.Widen()
				kept, stamps := 10, 12
				if c.widened != was {
					kept, stamps = c.kept, c.stamps
				}
				is("widened", c.tot, c.pkt, c.widened, kept, stamps)
				w.Destroy(rule)
				moved = append(moved, l.Finish()...)
				is("finished", c.toTot, c.toPkt, c.wanted, c.kept, c.stamps)
				if (len(moved) == 1) != (c.wanted != was) || len(moved) > 1 {
					t.Errorf("moved: %+v", moved)
				}
				for _, m := range moved {
					if m.Table != w.Table("t") || int(m.Kept) != c.kept || int(m.Dropped) != 10-c.kept || m.Emptied != (c.kept == 0) {
						t.Errorf("moved: %+v", m)
					}
				}
			}
		})
	}
}

// TestReloadOwner writes who owns new tables by hand, between the start and a
// reload: that stays unless the reload brings another owner than the start.
func TestReloadOwner(t *testing.T) {
	for _, c := range []struct {
		name                     string
		given, written, to, want uint32
	}{
		{name: "nothing changes", given: 5, written: 5, to: 5, want: 5},
		{name: "written", given: 5, written: 7, to: 5, want: 7},
		{name: "given", given: 5, written: 5, to: 6, want: 6},
		{name: "written, then given", given: 5, written: 7, to: 6, want: 6},
		{name: "written, then given the same", given: 5, written: 6, to: 6, want: 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.UID, p.GID = c.given, c.given+100 }, Classic)
			w.rule(Info{CheckSet: Set})
			w.module.SetUID(c.written)
			w.module.SetGID(c.written + 100)
			want := c.want
			for range 2 {
				l, err := w.module.Reload(Params{ListTot: 100, PktListTot: 20, Perms: 0o600, UID: c.to, GID: c.to + 100})
				if err != nil {
					t.Fatal(err)
				}
				rules, err := l.CheckAll(w.Registry, []Info{{Name: "t", CheckSet: Set, Mask: AllOnes}, {Name: "new", CheckSet: Set, Mask: AllOnes}})
				if err != nil {
					t.Fatal(err)
				}
				l.Widen()
				l.Finish()
				if got := w.Table("new").Attr(); got != (Attr{0o600, want, want + 100}) {
					t.Errorf("a new table's file is %+v", got)
				}
				if got := w.Table("t").Attr(); got != (Attr{0o644, c.given, c.given + 100}) {
					t.Errorf("the file of a table that was there is %+v", got)
				}
				if p := w.module.Params(); p.UID != want || p.GID != want+100 || p.Perms != 0o600 {
					t.Errorf("parameters %+v", p)
				}
				w.Destroy(rules[1])
				want = 9 // the second reload brings nothing new
				w.module.SetUID(want)
				w.module.SetGID(want + 100)
			}
		})
	}
}

// TestReloadRefused has parameters that do not go, by themselves or with a rule.
func TestReloadRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Params)
		err    string
	}{
		{"no address", func(p *Params) { p.ListTot = 0 }, "ip_list_tot=0: a table keeps"},
		{"another compatibility", func(p *Params) { p.Compat = Modern }, "compatibility modern: it is classic, and stays so until a restart"},
		{"a hitcount above the stamps", func(p *Params) { p.PktListTot = 3 }, `table "t": hitcount (4) is larger than packets to be remembered (3)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			w.rule(Info{CheckSet: Set})
			_ = w.write("t", "+192.0.2.1")
			before := w.module.Params()
			p := before
			c.change(&p)
			l, err := w.module.Reload(p)
			if err == nil {
				_, err = l.CheckAll(w.Registry, []Info{
					{Name: "new", CheckSet: Set, Mask: AllOnes}, {Name: "t", CheckSet: Check, HitCount: 4, Mask: AllOnes},
				})
				l.Cancel()
			}
			if err == nil || !strings.HasPrefix(err.Error(), c.err) || !errors.Is(err, syscall.EINVAL) {
				t.Errorf("%v", err)
			}
			if limit, ring := w.Table("t").size(); limit != 100 || ring != 20 || w.module.Params() != before || len(w.Tables()) != 1 {
				t.Error("it changed something")
			}
			w.want("t", "src=192.0.2.1 ttl: 0 last_seen: 1000 oldest_pkt: 1 1000")
		})
	}
}
