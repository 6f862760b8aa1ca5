package recent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// step is one packet of an address, after some time.
type step struct {
	after time.Duration
	src   string
	ttl   uint8
	want  bool
}

func TestMatch(t *testing.T) {
	const a, b = "192.0.2.1", "192.0.2.2"
	s := func(after time.Duration, src string, want bool) step { return step{after, src, 64, want} }
	for _, c := range []struct {
		name  string
		first Info // matched by every packet before info; its result is not looked at
		info  Info
		steps []step
		lines []string
	}{
		{"set", Info{}, Info{CheckSet: Set},
			[]step{s(0, a, true), s(time.Second, a, true)},
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 1250 oldest_pkt: 2 1000, 1250"}},
		{"not set", Info{}, Info{CheckSet: Set, Invert: true},
			[]step{s(0, a, false), s(time.Second, a, false)},
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 1250 oldest_pkt: 2 1000, 1250"}},
		{"rcheck of an absent address", Info{}, Info{CheckSet: Check}, []step{s(0, a, false)}, nil},
		{"not rcheck of an absent address", Info{}, Info{CheckSet: Check, Invert: true}, []step{s(0, a, true)}, nil},
		{"update of an absent address", Info{}, Info{CheckSet: Update}, []step{s(0, a, false)}, nil},
		{"not update of an absent address adds nothing", Info{}, Info{CheckSet: Update, Invert: true}, []step{s(0, a, true)}, nil},
		{"remove of an absent address", Info{}, Info{CheckSet: Remove}, []step{s(0, a, false)}, nil},
		{"set, then remove", Info{CheckSet: Set}, Info{CheckSet: Remove}, []step{s(0, a, true), s(0, b, true)}, nil},
		{"the fourth hit within a minute", Info{CheckSet: Set}, Info{CheckSet: Check, Seconds: 60, HitCount: 4},
			[]step{s(0, a, false), s(0, a, false), s(59*time.Second, a, false), s(time.Second, a, true), s(4*time.Millisecond, a, false)},
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 16001 oldest_pkt: 5 1000, 1000, 15750, 16000, 16001"}},
		{"update stamps again what matches", Info{CheckSet: Set}, Info{CheckSet: Update, HitCount: 2},
			[]step{s(0, a, false), s(0, a, true)},
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 3 1000, 1000, 1000"}},
		{"not update stamps what does not", Info{CheckSet: Set}, Info{CheckSet: Update, HitCount: 2, Invert: true},
			[]step{s(0, a, true), s(0, a, false)},
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 3 1000, 1000, 1000"}},
		{"a stamp from the window's first jiffy counts", Info{CheckSet: Set}, Info{CheckSet: Check, Seconds: 1, HitCount: 2},
			[]step{s(0, a, false), s(time.Second, a, true)},
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 1250 oldest_pkt: 2 1000, 1250"}},
		{"rttl with the same ttl", Info{CheckSet: Set}, Info{CheckSet: Check | TTL}, []step{s(0, a, true)},
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000"}},
		{"IPv6", Info{CheckSet: Set}, Info{CheckSet: Check}, []step{s(0, "2001:db8::1", true)},
			[]string{"src=2001:0db8:0000:0000:0000:0000:0000:0001 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000"}},
		{"families do not mix", Info{CheckSet: Set}, Info{CheckSet: Check, HitCount: 2},
			[]step{s(0, "1.2.3.4", false), s(0, "102:304::", false)},
			[]string{"src=1.2.3.4 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000", "src=0102:0304:0000:0000:0000:0000:0000:0000 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000"}},
		{"seconds times HZ is a 32-bit product", Info{CheckSet: Set}, Info{CheckSet: Check, Seconds: 17179870, HitCount: 2},
			// 17179870 * 250 is 2^32 + 204.
			[]step{s(0, a, false), s(820*time.Millisecond, a, false), s(0, a, true)},
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 1205 oldest_pkt: 3 1000, 1205, 1205"}},
	} {
		for _, compat := range []Compat{Classic, Modern} {
			t.Run(compat.String()+"/"+c.name, func(t *testing.T) {
				w := newWorld(t, nil, compat)
				if w.module.params.PktListTot == 0 { // so that both keep more stamps than are used here
					w.module.params.PktListTot = 32
				}
				info := w.rule(c.info)
				var first *Rule
				if c.first.CheckSet != 0 {
					first = w.rule(c.first)
				}
				for i, st := range c.steps {
					w.clock.Advance(st.after)
					if first != nil {
						w.arrives(first, st.src, st.ttl)
					}
					if got := w.arrives(info, st.src, st.ttl); got != st.want {
						t.Errorf("packet %d: %v, want %v", i+1, got, st.want)
					}
				}
				w.want("t", c.lines...)
			})
		}
	}
}

func TestTTL(t *testing.T) {
	w := newWorld(t, nil, Classic)
	set, check := w.rule(Info{CheckSet: Set}), w.rule(Info{CheckSet: Check | TTL})
	const a = "192.0.2.1"
	w.packet(set, a, 63, true) // was 64 before it was forwarded
	w.want("t", "src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000")
	for _, c := range []struct {
		name    string
		ttl     uint8
		leaving bool
		want    bool
	}{
		{"as stored", 64, false, true},
		{"as stored, after forwarding", 63, true, true},
		{"another", 63, false, false},
		{"another, after forwarding", 64, true, false},
		{"0 equals any", 0, false, true},
		{"255 wraps to 0", 255, true, true},
		{"255", 255, false, false},
	} {
		if got := w.packet(check, a, c.ttl, c.leaving); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if any := w.rule(Info{CheckSet: Check}); !w.arrives(any, a, 63) {
		t.Error("a rule without --rttl asks for the ttl")
	}
	w.packet(set, a, 255, true)
	if !w.arrives(check, a, 17) {
		t.Error("a stored 0 does not equal 17")
	}
	if err := w.write("t", "+"+a); err != nil {
		t.Fatal(err)
	}
	w.arrives(set, a, 9)
	if err := w.write("t", "+"+a); err != nil {
		t.Fatal(err)
	}
	if got := w.lines("t")[0]; !strings.HasPrefix(got, "src=192.0.2.1 ttl: 9 ") {
		t.Errorf("a write changes the ttl: %s", got)
	}
}

func TestSide(t *testing.T) {
	w := newWorld(t, nil, Classic)
	dest := w.rule(Info{CheckSet: Set, Side: Dest})
	_, src := bytesOf("192.0.2.1")
	family, dst := bytesOf("192.0.2.2")
	once(dest, 1000, family, &src, &dst, 64, false)
	w.want("t", "src=192.0.2.2 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000")
}

func TestRingWraps(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.PktListTot = 3 }, Classic)
	set := w.rule(Info{CheckSet: Set})
	for range 5 {
		w.arrives(set, "192.0.2.1", 64)
		w.clock.Advance(4 * time.Millisecond)
	}
	w.want("t", "src=192.0.2.1 ttl: 64 last_seen: 1004 oldest_pkt: 2 1003, 1004, 1002")
}

func TestEviction(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.ListTot = 2 }, Classic)
	set := w.rule(Info{CheckSet: Set})
	for _, last := range []int{1, 2, 1, 3} { // 2 is the least recently seen when 3 comes
		w.arrives(set, fmt.Sprintf("192.0.2.%d", last), 64)
	}
	w.want("t", "src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 2 1000, 1000",
		"src=192.0.2.3 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000")
}

func TestReap(t *testing.T) {
	const a, b = "192.0.2.1", "192.0.2.2"
	lineA := "src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000"
	lineB := "src=192.0.2.2 ttl: 64 last_seen: 1500 oldest_pkt: 1 1500"
	for _, c := range []struct {
		name string
		info Info
		src  string
		want []string
	}{
		{"the oldest goes", Info{CheckSet: Check | Reap, Seconds: 1}, b, []string{lineB}},
		{"nothing without reap", Info{CheckSet: Check, Seconds: 1}, b, []string{lineA, lineB}},
		{"nothing for an absent address", Info{CheckSet: Check | Reap, Seconds: 1}, "192.0.2.3", []string{lineA, lineB}},
		{"nothing that is young enough", Info{CheckSet: Check | Reap, Seconds: 2}, b, []string{lineA, lineB}},
		{"rcheck reaps the address itself", Info{CheckSet: Check | Reap, Seconds: 1}, a, []string{lineB}},
		{"update reaps the address that it does not update", Info{CheckSet: Update | Reap, Seconds: 1}, a, []string{lineB}},
		{"update spares the address that it updates", Info{CheckSet: Update | Reap, Seconds: 1, Invert: true}, a,
			[]string{"src=192.0.2.1 ttl: 64 last_seen: 1500 oldest_pkt: 2 1000, 1500", lineB}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			set, rule := w.rule(Info{CheckSet: Set}), w.rule(c.info)
			w.arrives(set, a, 64)
			w.clock.Advance(2 * time.Second)
			w.arrives(set, b, 64)
			w.arrives(rule, c.src, 64)
			w.want("t", c.want...)
		})
	}
}

func TestModernWidens(t *testing.T) {
	w := newWorld(t, nil, Modern)
	set, four := w.rule(Info{CheckSet: Set}), Info{CheckSet: Check, HitCount: 4}
	w.arrives(set, "192.0.2.1", 64)
	w.rule(four) // 4 stamps are fewer than 32: nothing changes
	w.want("t", "src=192.0.2.1 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000")
	w.rule(Info{CheckSet: Check, HitCount: 33})
	w.want("t")
	for range 40 {
		w.arrives(set, "192.0.2.1", 64)
	}
	if got := strings.Count(w.lines("t")[0], ","); got != 39 {
		t.Errorf("a table widened to 64 stamps keeps %d of 40", got+1)
	}
}

func TestModernMask(t *testing.T) {
	w := newWorld(t, nil, Modern)
	set := w.rule(Info{CheckSet: Set, Mask: [16]byte{255, 255, 255}})
	check := w.rule(Info{CheckSet: Check}) // the table keeps the mask of its first rule
	w.arrives(set, "192.0.2.77", 64)
	if !w.arrives(check, "192.0.2.1", 64) || w.arrives(check, "192.0.3.1", 64) {
		t.Error("the mask does not hold for the table's second rule")
	}
	if err := w.write("t", "+192.0.2.5"); err != nil {
		t.Fatal(err)
	}
	w.want("t", "src=192.0.2.0 ttl: 64 last_seen: 1000 oldest_pkt: 1 1000",
		"src=192.0.2.5 ttl: 0 last_seen: 1000 oldest_pkt: 1 1000")
}

// TestIndexOf65536Stamps fills the largest ring, whose 16-bit index wraps to 0 at
// its end.
func TestIndexOf65536Stamps(t *testing.T) {
	w := newWorld(t, nil, Modern)
	set := w.rule(Info{CheckSet: Set})
	reap := w.rule(Info{CheckSet: Check | Reap, Seconds: 1, HitCount: 65535})
	for i := range 65536 {
		w.clock.Set(jiffies.Jiffies(i))
		w.arrives(set, "192.0.2.1", 64)
	}
	line := w.lines("t")[0]
	if want := "src=192.0.2.1 ttl: 64 last_seen: 65535 oldest_pkt: 0 0, 1, 2,"; !strings.HasPrefix(line, want) {
		t.Errorf("%.80s, want %s", line, want)
	}
	if n := strings.Count(line, ",") + 1; n != 65535 {
		t.Errorf("%d stamps, want 65535", n)
	}
	w.arrives(reap, "192.0.2.1", 64) // its newest stamp is not old
	if w.Table("t").header.entries != 1 {
		t.Error("an entry with a new stamp was reaped")
	}
	w.arrives(set, "192.0.2.1", 64)
	if line := w.lines("t")[0]; !strings.HasPrefix(line, "src=192.0.2.1 ttl: 64 last_seen: 65535 oldest_pkt: 1 65535, 1, 2,") {
		t.Errorf("%.80s", line)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	p := DefaultParams(Classic)
	update, set := sshRules(t, p, jiffies.NewManual(0, testHZ), Anonymous{})
	var a [16]byte
	now := jiffies.Jiffies(0)
	allocs := testing.AllocsPerRun(1000, func() {
		a[0]++ // more addresses than the table holds: evictions too
		now++
		var b Batch
		defer b.End()
		if !update.Match(&b, now, unix.NFPROTO_IPV4, &a, &a, 64, false) {
			set.Match(&b, now, unix.NFPROTO_IPV4, &a, &a, 64, false)
		}
	})
	if allocs != 0 {
		t.Errorf("a packet allocates %v times", allocs)
	}
}
