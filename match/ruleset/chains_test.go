package ruleset

import (
	"fmt"
	"testing"

	"recentfs/capture"
)

// ssh has the most common rules.
const ssh = `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -p tcp --dport 22 -m recent --update --seconds 60 --hitcount 4 --name SSH -j DROP
-A QUEUE0 -p tcp --dport 22 -m recent --set --name SSH
COMMIT
`

func TestWalk(t *testing.T) {
	for _, c := range []struct {
		name   string
		rules  string
		packet capture.Packet
		want   capture.Verdict
		mark   uint32
		marked bool
	}{
		{name: "policy accept", rules: ":QUEUE0 ACCEPT", want: capture.Accept},
		{name: "policy drop", rules: ":QUEUE0 DROP", want: capture.Drop},
		{name: "policy changed", rules: ":QUEUE0 ACCEPT\n-P QUEUE0 DROP", want: capture.Drop},
		{name: "first verdict counts", rules: ":QUEUE0 DROP\n-A QUEUE0 -j ACCEPT\n-A QUEUE0 -j DROP", want: capture.Accept},
		{name: "no target goes on", rules: ":QUEUE0 ACCEPT\n-A QUEUE0\n-A QUEUE0 -j DROP", want: capture.Drop},
		{name: "RETURN in a built-in chain is its policy", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j RETURN\n-A QUEUE0 -j DROP", want: capture.Accept},
		{name: "jump comes back", rules: ":QUEUE0 ACCEPT\n:a -\n-A QUEUE0 -j a\n-A QUEUE0 -j DROP\n-A a -p udp -j ACCEPT", want: capture.Drop},
		{name: "jump and RETURN", rules: ":QUEUE0 ACCEPT\n:a -\n-A QUEUE0 -j a\n-A QUEUE0 -j DROP\n-A a -j RETURN\n-A a -j ACCEPT", want: capture.Drop},
		{name: "jump into an empty chain", rules: ":QUEUE0 ACCEPT\n:a -\n-A QUEUE0 -j a\n-A QUEUE0 -j DROP", want: capture.Drop},
		{name: "goto does not come back", rules: ":QUEUE0 ACCEPT\n:a -\n-A QUEUE0 -g a\n-A QUEUE0 -j DROP", want: capture.Accept},
		{name: "goto returns to the last jump", rules: ":QUEUE0 DROP\n:a -\n:b -\n-A QUEUE0 -j a\n-A QUEUE0 -j ACCEPT\n-A a -g b\n-A a -j DROP\n-A b -j RETURN", want: capture.Accept},
		{name: "jumps nest", rules: ":QUEUE0 DROP\n:a -\n:b -\n:c -\n-A QUEUE0 -j a\n-A QUEUE0 -j ACCEPT\n-A a -j b\n-A a -j c\n-A b -j c", want: capture.Accept},
		{name: "hotdrop", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -p tcp --dport 23\n-A QUEUE0 -j ACCEPT", packet: with(v4, truncated), want: capture.Drop},
		{name: "not decoded", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j DROP", packet: capture.Packet{Length: 3}, want: capture.Accept},
		{name: "set mark", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --set-mark 7", want: capture.Accept, mark: 7, marked: true},
		{name: "set part of a mark", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --set-mark 0x10/0xf0", packet: with(v4, mark(0x2f)), want: capture.Accept, mark: 0x1f, marked: true},
		{name: "and mark", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --and-mark 6", packet: with(v4, mark(3)), want: capture.Accept, mark: 2, marked: true},
		{name: "or mark", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --or-mark 6", packet: with(v4, mark(3)), want: capture.Accept, mark: 7, marked: true},
		{name: "xor mark", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --xor-mark 6", packet: with(v4, mark(3)), want: capture.Accept, mark: 5, marked: true},
		{name: "same mark", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --set-mark 3", packet: with(v4, mark(3)), want: capture.Accept, mark: 3},
		{name: "mark is seen by the next rule", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --set-mark 3\n-A QUEUE0 -m mark --mark 3 -j DROP", want: capture.Drop, mark: 3, marked: true},
		{name: "repeat", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --set-mark 3\n-A QUEUE0 -j REPEAT", want: capture.Repeat, mark: 3, marked: true},
		{name: "repeat with the mark it came with", rules: ":QUEUE0 DROP\n-A QUEUE0 -j MARK --set-mark 3\n-A QUEUE0 -j REPEAT", packet: with(v4, mark(3)), want: capture.Drop, mark: 3},
		{name: "other queue", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j NFQUEUE --queue-num 513", want: capture.ToQueue(513)},
		{name: "other queue, or on", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j NFQUEUE --queue-num 513 --queue-bypass", want: 513<<16 | 0x8003},
		{name: "log goes on", rules: ":QUEUE0 ACCEPT\n-A QUEUE0 -j LOG\n-A QUEUE0 -j DROP", want: capture.Drop},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := load(t, "*recent\n"+c.rules+"\nCOMMIT\n")
			p := c.packet
			if p.Length == 0 {
				p = v4
			}
			got := b.decide(p)
			if got.Verdict != c.want || got.Mark != c.mark || got.Marked != c.marked {
				t.Errorf("verdict %#x, mark %#x (%t), want %#x, %#x (%t)",
					got.Verdict, got.Mark, got.Marked, c.want, c.mark, c.marked)
			}
		})
	}
}

// TestRange: the queues of a range share a chain and its counters.
func TestRange(t *testing.T) {
	b := load(t, `*recent
:QUEUE4 DROP
:QUEUE0-2 ACCEPT
-A QUEUE0-2 -p udp -j DROP
COMMIT
`)
	if got := fmt.Sprint(b.file.Queues()); got != "[0 1 2 4]" {
		t.Errorf("queues %s, want [0 1 2 4]", got)
	}
	for _, n := range b.file.Queues() {
		b.decide(with(v4, udp, func(p *capture.Packet) { p.Queue = n }))
		b.decide(with(v4, func(p *capture.Packet) { p.Queue = n }))
	}
	b.decide(capture.Packet{Queue: 1, Length: 1})
	if b.Queue(3) != nil {
		t.Error("queue 3 has a chain")
	}
	want := `*recent
:QUEUE0-2 ACCEPT [4:181]
:QUEUE4 DROP [2:120]
[3:180] -A QUEUE0-2 -p udp -j DROP
COMMIT
`
	if got := b.saved(t, true); got != want {
		t.Errorf("counters:\n%s\nwant\n%s", got, want)
	}
}

// TestUnrepeated: packets that would come back for ever are counted.
func TestUnrepeated(t *testing.T) {
	b := load(t, "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -p udp -j MARK --set-mark 1\n-A QUEUE0 -j REPEAT\nCOMMIT\n")
	b.decide(v4)
	b.decide(with(v4, udp))
	if n := b.Unrepeated(); n != 1 {
		t.Errorf("%d packets not repeated, want 1", n)
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	for name, text := range map[string]string{
		"ssh":     ssh,
		"targets": everything,
		"many":    manyRules(100),
	} {
		b := load(t, text)
		batch := []capture.Packet{v4, v6, with(v4, udp), with(v4, icmp(8, 0)), with(v6, icmp(128, 0)), with(v4, fragment(1)), {}}
		for i := range batch {
			batch[i].Data = make([]byte, 300)
		}
		q := b.Queue(0)
		if n := testing.AllocsPerRun(100, func() {
			b.clock.Set(b.clock.Now() + 1)
			q.Decide(batch, b.clock.Now())
		}); n != 0 {
			t.Errorf("%s: %v allocations for a batch, want 0", name, n)
		}
	}
}

// everything has every kind of match and target.
const everything = `*recent
:QUEUE0 ACCEPT
:a -
:b -
-A a -j LOG --log-prefix "a: " --log-tcp-sequence --log-tcp-options --log-ip-options --log-uid
-A a -i eth+ -o eth1 -m recent --set --name A
-A a -g b
-A b -p tcp -m multiport --dports 22,80:90 -m recent --update --seconds 5 --reap --hitcount 3 --rttl --name A
-A b -p tcp --syn -m comment --comment "new" -j RETURN
-A b -m ttl --ttl-gt 63 -m length --length 1500: -j RETURN
-A b -p icmp --icmp-type 8 -m recent --remove --name A -j RETURN
-A b -p ipv6-icmp --icmpv6-type 128 -j RETURN
-A QUEUE0 -j a
-A QUEUE0 -m mark --mark 0 -j MARK --set-mark 1
-A QUEUE0 -s 192.0.2.0/24 ! -p udp -j REPEAT
-A QUEUE0 -s 2001:db8::/32 -j NFQUEUE --queue-num 1
COMMIT
`

// manyRules is a chain of rules that v4 does not meet.
func manyRules(n int) string {
	text := "*recent\n:QUEUE0 ACCEPT\n"
	for i := range n {
		text += fmt.Sprintf("-A QUEUE0 -s 10.0.%d.0/24 -p tcp --dport 22 -j DROP\n", i)
	}
	return text + "COMMIT\n"
}
