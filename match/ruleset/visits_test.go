package ruleset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"recentfs/capture"
	"recentfs/match/recent"
)

// doubling is chains d0 to dN, each but the first calling the one before it
// twice. A packet makes 2^(N+1)-1 visits from QUEUE0 on.
func doubling(depth int, call string) string {
	var b strings.Builder
	b.WriteString("*recent\n:QUEUE0 ACCEPT\n:d0 -\n")
	for i := range depth {
		fmt.Fprintf(&b, ":d%d -\n-A d%[1]d -%s d%d\n-A d%[1]d -%[2]s d%d\n", i+1, call, i, i)
	}
	fmt.Fprintf(&b, "-A QUEUE0 -j d%d\nCOMMIT\n", depth)
	return b.String()
}

// calls is a chain of many jumps to one of many rules.
func calls(jumps int, rules, more string) string {
	return "*recent\n:QUEUE0 ACCEPT\n:a -\n" + rules +
		strings.Repeat("-A QUEUE0 -j a\n", jumps) + more + "COMMIT\n"
}

// TestMaxVisits: a packet can visit a million rules and matches, and no more.
func TestMaxVisits(t *testing.T) {
	plain := strings.Repeat("-A a\n", 999)
	matches := strings.Repeat("-A a -m mark --mark 1 -m comment --comment c\n", 333)
	for _, c := range []struct{ name, text, want string }{
		{"a million visits by jumps", calls(1000, plain, ""), ""},
		{"one rule more", calls(1000, plain, "-A QUEUE0\n"), "rules:2003: chain QUEUE0 is too long"},
		{"one jump more", calls(1001, plain, ""), "rules:2003: chain QUEUE0 is too long"},
		{"a million visits with matches", calls(1000, matches, ""), ""},
		{"one match more", calls(1000, matches+"-A a -m mark --mark 1\n", ""), "rules:1336: chain QUEUE0 is too long"},
		{"gotos are ways of their own", doubling(40, "g"), ""},
		{"depth 18", doubling(18, "j"), ""},
		{"depth 19", doubling(19, "j"), "rules:60: chain d19 is too long"},
		{"depth 20", doubling(20, "j"), "rules:60: chain d19 is too long"},
		{"depth 26", doubling(26, "j"), "rules:60: chain d19 is too long"},
		{"depth 40", doubling(40, "j"), "rules:60: chain d19 is too long"},
		{"depth 20000", doubling(20000, "j"), "rules:60: chain d19 is too long"},
		{"depth 20000 by goto", doubling(20000, "g"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("rules", []byte(c.text), classic)
			switch {
			case err == nil && c.want != "":
				t.Errorf("taken, want %q", c.want)
			case err != nil && (c.want == "" || !strings.HasPrefix(err.Error(), c.want)):
				t.Errorf("refused with %q, want %q", err, c.want)
			}
		})
	}
}

// TestMaxVisitsOfStamps: a match counts as more visits where it may look at many
// stamps.
func TestMaxVisitsOfStamps(t *testing.T) {
	keeps := func(tot uint32) recent.Params {
		p := classic
		p.PktListTot = tot
		return p
	}
	seconds := func(n int) string { return strings.Repeat("-A a -m recent --rcheck --seconds 60\n", n) }
	// A rule of large is 1026 visits: itself, its match, and 65536 stamps by 64.
	large := func(n int, more string) string {
		return "*recent\n:QUEUE0 ACCEPT\n" + strings.Repeat("-A QUEUE0 -m recent --rcheck --seconds 60 --hitcount 60000\n", n) + more + "COMMIT\n"
	}
	const needsMany = "-A QUEUE0 -m recent --rcheck --hitcount 60000 --name DEFAULT\n"
	for _, c := range []struct {
		name   string
		params recent.Params
		text   string
		want   string
	}{
		{"20 stamps", keeps(20), calls(1000, seconds(499)+"-A a\n", ""), ""},
		{"63 stamps", keeps(63), calls(1000, seconds(499)+"-A a\n", ""), ""},
		{"64 stamps", keeps(64), calls(1000, seconds(333), ""), ""},
		{"64 stamps, one rule more", keeps(64), calls(1000, seconds(333), "-A QUEUE0\n"), "rules:1337: chain QUEUE0 is too long"},
		{"255 stamps", keeps(255), calls(1000, seconds(199)+strings.Repeat("-A a\n", 4), ""), ""},
		{"255 stamps, one rule more", keeps(255), calls(1000, seconds(199)+strings.Repeat("-A a\n", 4), "-A QUEUE0\n"), "rules:1207: chain QUEUE0 is too long"},
		{"65536 stamps", modern, large(974, ""), ""},
		{"65536 stamps, one match more", modern, large(975, ""), "rules:977: chain QUEUE0 is too long"},
		{"65536 stamps without --seconds", modern, large(974, strings.Repeat(needsMany, 300)), ""},
		{"32 stamps", modern, calls(1000, seconds(499)+"-A a\n", ""), ""},
		{"32 stamps for this rule and 65536 for another", modern, calls(1000, seconds(10), needsMany), "rules:111: chain QUEUE0 is too long"},
		{"65536 stamps in another table", modern, calls(1000, seconds(498), strings.Replace(needsMany, "DEFAULT", "B", 1)), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("rules", []byte(c.text), c.params)
			switch {
			case err == nil && c.want != "":
				t.Errorf("taken, want %q", c.want)
			case err != nil && (c.want == "" || !strings.HasPrefix(err.Error(), c.want)):
				t.Errorf("refused with %q, want %q", err, c.want)
			}
		})
	}
}

// TestVisits compares the visits that check counts with those of a packet that
// takes the longest way.
func TestVisits(t *testing.T) {
	const head = "*recent\n:QUEUE0 ACCEPT\n:a -\n:b -\n"
	for _, c := range []struct {
		name, rules string
		want        int
	}{
		{"no rule", "", 0},
		{"rules", "-A QUEUE0\n-A QUEUE0 -p udp\n-A QUEUE0 -j MARK --set-mark 1\n", 3},
		{"matches", "-A QUEUE0 -m mark --mark 0 -m recent --set -m comment --comment c\n-A QUEUE0 -p tcp --dport 23\n", 6},
		{"a verdict that is not reached", "-A QUEUE0 -p udp -j DROP\n-A QUEUE0\n", 2},
		{"jump", "-A QUEUE0 -j a\n-A QUEUE0 -j a\n-A QUEUE0\n-A a\n-A a\n", 7},
		{"jumps in a chain", "-A QUEUE0 -j a\n-A QUEUE0 -j a\n-A a -j b\n-A b\n", 6},
		{"goto is passed by", "-A QUEUE0 -p udp -g a\n-A QUEUE0\n-A QUEUE0\n-A QUEUE0\n-A a\n-A a\n", 4},
		{"goto in a called chain", "-A QUEUE0 -j a\n-A QUEUE0\n-A a -g b\n-A a\n-A b\n-A b\n", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := load(t, head+c.rules+"COMMIT\n")
			g := &graph{File: b.file, nodes: make([]node, len(b.file.chains))}
			g.visit(0)
			if got := g.nodes[0].visits; got != c.want {
				t.Errorf("%d visits counted, want %d", got, c.want)
			}
			h := hold{now: b.clock.Now()}
			p := v4
			b.Queue(0).walk(&p, &h, 0)
			h.End()
			ends := 0 // of chains: rules of a Set, but none of a File
			for i := range b.file.chains {
				ends += int(b.Queue(0).counters[b.start[i]+len(b.file.chains[i].rules)].packets.Load())
			}
			if got := h.visits - ends; got != c.want {
				t.Errorf("the packet made %d visits, want %d", got, c.want)
			}
		})
	}
}

// TestHoldEnds: a packet that takes a table's lock gives it back after maxHeld
// visits, though it goes on.
func TestHoldEnds(t *testing.T) {
	const others = 3 // visits: the rule that takes the lock, its match, and the policy
	for _, c := range []struct {
		name         string
		rules, count int
		free         bool
	}{
		{"just within", maxHeld - others, maxHeld, false},
		{"one more", maxHeld - others + 1, 1, true},
		{"twice", 2*maxHeld - others + 1, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := load(t, "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -m recent --set --name A\n"+strings.Repeat("-A QUEUE0\n", c.rules)+"COMMIT\n")
			h := hold{now: b.clock.Now()}
			p := v4
			b.Queue(0).walk(&p, &h, 0)
			if h.visits != c.count {
				t.Errorf("%d visits since the lock was given back, want %d", h.visits, c.count)
			}
			written := make(chan error, 1)
			go func() {
				_, _, err := b.reg.Table("A").Write([]byte("+192.0.2.9\n"), 0)
				written <- err
			}()
			if !c.free {
				h.End()
			}
			select {
			case err := <-written:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("the table's lock is still held")
				h.End()
			}
		})
	}
}

// TestHoldEndsByStamps: a packet gives the table's lock back earlier where it may
// look at many stamps.
func TestHoldEndsByStamps(t *testing.T) {
	const many, few = "-m recent --rcheck --seconds 60 --hitcount 60000\n", "-m recent --rcheck --seconds 60\n"
	for _, c := range []struct {
		name, before, rule string
		rules, count       int
	}{
		{"within", many, many, 3, 3*1026 + 1},
		{"one rule more", many, many, 4, 1025 + 1},
		{"few stamps", few, few, 4, 4*2 + 1},
		{"a table that was made for many stamps", many, few, 4, 1025 + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg, clock := newRegistry(t, modern)
			var set *Set
			for _, rules := range []string{"-A QUEUE0 " + c.before, strings.Repeat("-A QUEUE0 "+c.rule, c.rules)} {
				var err error
				set, err = mustParse(t, "*recent\n:QUEUE0 ACCEPT\n"+rules+"COMMIT\n", modern).Load(reg)
				if err != nil {
					t.Fatal(err)
				}
				defer set.Close()
			}
			h := hold{now: clock.Now()}
			p := v4
			set.Queue(0).walk(&p, &h, 0)
			h.End()
			if h.visits != c.count {
				t.Errorf("%d visits since the lock was given back, want %d", h.visits, c.count)
			}
		})
	}
}

// probe is a match that calls a function. Any packet meets it.
type probe struct {
	matcher
	call func()
}

func (p probe) meets(*capture.Packet, *hold) outcome {
	p.call()
	return yes
}

// TestWriterWaitsForVisits: a writer that wants a table while a packet holds it
// gets it before the packet has its verdict. The packet takes the lock, wakes
// the writer, makes maxHeld visits more, and then waits for the writer.
func TestWriterWaitsForVisits(t *testing.T) {
	b := load(t, "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -m recent --set --name A\n-A QUEUE0\n"+
		strings.Repeat("-A QUEUE0\n", maxHeld)+"-A QUEUE0 -j DROP\nCOMMIT\n")
	written := make(chan error, 1)
	ask := func(rule int, call func()) {
		b.rules[rule].matches = []match{{probe{call: call}, &matchExtension{name: "probe"}, 1}}
	}
	ask(1, func() {
		go func() {
			_, _, err := b.reg.Table("A").Write([]byte("+192.0.2.9\n"), 0)
			written <- err
		}()
	})
	ask(2+maxHeld, func() {
		select {
		case err := <-written:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the writer still waits for the table")
		}
	})
	if got := b.decide(v4).Verdict; got != capture.Drop {
		t.Errorf("verdict %d, want drop: the last rule was not asked", got)
	}
}
