package ruleset

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"recentfs/capture"
)

// manyOf is a chain of rules that differ in a number.
func manyOf(n int, format string) string {
	var b strings.Builder
	b.WriteString("*recent\n:QUEUE0 ACCEPT\n")
	for i := range n {
		fmt.Fprintf(&b, "-A QUEUE0 "+format+"\n", i+100)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// mixed is a chain of rules with all kinds of matches in no order.
func mixed(n int) string {
	rnd := rand.New(rand.NewPCG(1, 2))
	rules := []string{
		"-p tcp --dport 23 -j DROP", "-p tcp --syn", "-m mark --mark 1 -j DROP", "-m comment --comment c",
		"-p tcp -m multiport --dports 80,443", "-m recent --rcheck --name A -j DROP", "-p tcp --dport 22 -m mark --mark 0",
		"-m ttl --ttl-lt 2 -j DROP", "-p tcp -m length --length 1400:65535 -j DROP",
	}
	var b strings.Builder
	b.WriteString("*recent\n:QUEUE0 ACCEPT\n")
	for range n {
		b.WriteString("-A QUEUE0 " + rules[rnd.IntN(len(rules))] + "\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func BenchmarkDecide(b *testing.B) {
	for _, c := range []struct {
		name, text string
		batch      []capture.Packet
	}{
		{"ssh", ssh, []capture.Packet{v4}},
		{"ssh/batch=64", ssh, repeated(64, v4)},
		{"everything", everything, []capture.Packet{v4, v6, with(v4, udp), with(v4, icmp(8, 0)), with(v6, icmp(128, 0)), with(v4, fragment(1)), {}}},
		{"addresses=100", manyRules(100), []capture.Packet{v4}},
		{"tcp=100", manyOf(100, "-p tcp --dport %d -j DROP"), []capture.Packet{v4}},
		{"tcp=100/batch=64", manyOf(100, "-p tcp --dport %d -j DROP"), repeated(64, v4)},
		{"multiport=100", manyOf(100, "-p tcp -m multiport --dports 80,443,%d -j DROP"), []capture.Packet{v4}},
		{"icmp=100", manyOf(100, "-p icmp --icmp-type %d -j DROP"), []capture.Packet{with(v4, icmp(8, 0))}},
		{"mark=100", manyOf(100, "-m mark --mark %d -j DROP"), []capture.Packet{v4}},
		{"comment=100", manyOf(100, "-p tcp -m comment --comment c%d"), []capture.Packet{v4}},
		{"mixed=100", mixed(100), []capture.Packet{v4}},
		{"recent=100", manyOf(100, "-m recent --rcheck --name t%d -j DROP"), []capture.Packet{v4}},
		{"recent=100/one table", manyOf(100, "-m recent --rcheck --seconds %d -j DROP"), repeated(64, v4)},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := load(b, c.text)
			q := w.Queue(0)
			now := w.clock.Now()
			b.ReportAllocs()
			for b.Loop() {
				for i := range c.batch {
					c.batch[i].Mark = 0
				}
				q.Decide(c.batch, now)
			}
		})
	}
}

func repeated(n int, p capture.Packet) []capture.Packet {
	all := make([]capture.Packet, n)
	for i := range all {
		all[i] = p
	}
	return all
}

// BenchmarkNotes compares what notes of each packet cost.
func BenchmarkNotes(b *testing.B) {
	batch := repeated(capture.BatchSize, v4)
	for i := range batch {
		batch[i].ID = uint32(i + 1)
	}
	b.Run("without", func(b *testing.B) {
		q := load(b, ssh).Queue(0)
		for range b.N/len(batch) + 1 {
			q.Decide(batch, start)
		}
	})
	b.Run("with", func(b *testing.B) {
		q, notes := load(b, ssh).Queue(0), new(Notes)
		for range b.N/len(batch) + 1 {
			q.DecideNoted(batch, start, notes)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := []byte(manyOf(1000, "-p tcp --dport %d -m recent --update --seconds 60 --hitcount 4 -j DROP"))
	for b.Loop() {
		if _, err := Parse("rules", text, classic); err != nil {
			b.Fatal(err)
		}
	}
}
