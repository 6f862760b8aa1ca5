package recent

import (
	"testing"
)

// met is what a packet meets: a rule, and what is expected of it.
type met struct {
	rule    string
	matches bool
}

// TestReceipt has a packet meet rules in a process that ends at some point, and then
// again in the next one. The table t holds 192.0.2.1 at the start.
func TestReceipt(t *testing.T) {
	set := met{"set", true}
	const (
		twice  = "src=192.0.2.1 ttl: 64 last_seen: 1001 oldest_pkt: 2 1000, 1001"
		thrice = "src=192.0.2.1 ttl: 64 last_seen: 1001 oldest_pkt: 3 1000, 1001, 1001"
	)
	for _, c := range []struct {
		name          string
		first, second []met
		meanwhile     func(w *world)
		want          []string // lines of the table
	}{
		{"nothing was done", nil, []met{set}, nil, []string{twice}},
		{"one was done", []met{set}, []met{set}, nil, []string{twice}},
		{"one of two was done", []met{set}, []met{set, set}, nil, []string{thrice}},
		{"all were done, and the table has changed since", []met{{"check", true}, {"remove", true}, {"check", false}}, []met{{"check", true}, {"remove", true}, {"check", false}},
			func(w *world) { w.must("+192.0.2.1") }, []string{"src=192.0.2.1 ttl: 0 last_seen: 1001 oldest_pkt: 1 1001"}},
		{"the second meets another rule", []met{{"check", true}, set}, []met{{"check", true}, {"remove", true}}, nil, nil},
		{"the second meets fewer rules", []met{set, set}, []met{set}, nil, []string{thrice}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			made, err := w.CheckAll([]Info{
				{Name: "t", CheckSet: Set, Mask: AllOnes}, {Name: "t", CheckSet: Check, Mask: AllOnes}, {Name: "t", CheckSet: Remove, Mask: AllOnes},
			})
			if err != nil {
				t.Fatal(err)
			}
			rules := map[string]*Rule{"set": made[0], "check": made[1], "remove": made[2]}
			w.arrives(rules["set"], "192.0.2.1", 64)
			w.clock.Set(w.clock.Now() + 1)
			receipt := new(Receipt)
			family, a := bytesOf("192.0.2.1")
			meet := func(b *Batch, all []met) {
				for i, m := range all {
					if got := rules[m.rule].Match(b, w.clock.Now(), family, &a, &a, 64, false); got != m.matches {
						t.Errorf("rule %d, %s: matched %t, want %t", i, m.rule, got, m.matches)
					}
				}
				b.End()
			}
			b := Batch{Receipt: receipt}
			b.Begin(aPacket)
			meet(&b, c.first)
			if c.meanwhile != nil {
				c.meanwhile(w)
			}
			for range 2 { // it may be killed too
				b = Batch{Receipt: receipt}
				b.Resume(aPacket)
				meet(&b, c.second)
				w.want("t", c.want...)
			}
		})
	}
}

// TestReceiptOfAnother: a packet begins from its first rule if the process before was
// at another one, or if what it noted was dropped.
func TestReceiptOfAnother(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(b *Batch)
		want string // the table's line
	}{
		{"the same", func(b *Batch) { b.Resume(aPacket) }, "oldest_pkt: 1 1000"},
		{"another", func(b *Batch) { b.Resume(aPacket + 1) }, "oldest_pkt: 2 1000, 1000"},
		{"begun anew", func(b *Batch) { b.Begin(aPacket) }, "oldest_pkt: 2 1000, 1000"},
		{"dropped", func(b *Batch) { b.Receipt.Drop(); b.Resume(aPacket) }, "oldest_pkt: 2 1000, 1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			set := w.rule(Info{CheckSet: Set})
			family, a := bytesOf("192.0.2.1")
			b := Batch{Receipt: new(Receipt)}
			b.Begin(aPacket)
			set.Match(&b, w.clock.Now(), family, &a, &a, 64, false)
			c.do(&b)
			set.Match(&b, w.clock.Now(), family, &a, &a, 64, false)
			b.End()
			w.want("t", "src=192.0.2.1 ttl: 64 last_seen: 1000 "+c.want)
		})
	}
}

// TestSettleOnce: what was not done stays so, whatever changes the table later.
func TestSettleOnce(t *testing.T) {
	w := newWorld(t, nil, Classic)
	w.Registry = w.module.NewRegistryIn(forever{}, nil)
	set := w.rule(Info{CheckSet: Set})
	receipt := new(Receipt)
	b := Batch{Receipt: receipt}
	b.Begin(aPacket)
	receipt.begin(w.Table("t"), 0, true)
	for range 2 {
		receipt.Settle(w.Registry)
		if receipt.at != aPacket<<operationBits {
			t.Fatalf("at %#x: it says that the operation was done", receipt.at)
		}
		w.arrives(set, "192.0.2.1", 64)
	}
}

// TestDoubt: what the table counts stays, when it moves to another region, and
// with another table nothing was applied.
func TestDoubt(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world)
		want bool
	}{
		{"nothing", func(*world) {}, false},
		{"a packet", func(w *world) { w.arrives(w.rules["set"], "192.0.2.1", 64) }, true},
		{"a write", func(w *world) { w.must("+192.0.2.9") }, true},
		{"moved to another size", func(w *world) {
			w.reload(func(p *Params) { p.ListTot = 2 }, Info{CheckSet: Set})
		}, false},
		{"gone", func(w *world) { w.Destroy(w.rules["set"]) }, false},
		{"gone, and there is another of its name", func(w *world) {
			w.Destroy(w.rules["set"])
			w.rule(Info{CheckSet: Set})
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			w.Registry = w.module.NewRegistryIn(forever{}, nil)
			w.rules = map[string]*Rule{"set": w.rule(Info{CheckSet: Set})}
			for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
				w.arrives(w.rules["set"], a, 64)
			}
			var d doubt
			d.about(w.Table("t"))
			c.do(w)
			if got := d.applied(w.Registry); got != c.want {
				t.Errorf("applied: %t, want %t", got, c.want)
			}
		})
	}
}

// forever is memory that is taken for such that outlives the process.
type forever struct{ Anonymous }

func (forever) Make(size uint64) (Mapping, error) {
	m, err := Anonymous{}.Make(size)
	return kept{m.(anonymous)}, err
}
