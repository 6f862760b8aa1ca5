package ruleset

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

const hz = 250

// start is shortly before jiffies wrap around.
var start = ^jiffies.Jiffies(0) - 100*hz

// bench is rules at work on a clock of its own.
type bench struct {
	*Set
	reg   *recent.Registry
	clock *jiffies.Manual
}

// addresses is how many a table has: its lines.
func addresses(t *testing.T, table *recent.Table) int {
	t.Helper()
	text := make([]byte, 4096)
	n, err := table.Cursor().ReadAt(text, 0)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(text[:n], []byte("\n"))
}

func newRegistry(t testing.TB, p recent.Params) (*recent.Registry, *jiffies.Manual) {
	t.Helper()
	clock := jiffies.NewManual(start, hz)
	module, err := recent.NewModule(p, clock)
	if err != nil {
		t.Fatal(err)
	}
	reg := module.NewRegistry(nil)
	return reg, clock
}

func load(t testing.TB, text string) *bench {
	t.Helper()
	reg, clock := newRegistry(t, classic)
	s, err := mustParse(t, text, classic).Load(reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &bench{s, reg, clock}
}

func (b *bench) decide(p capture.Packet) capture.Packet {
	batch := []capture.Packet{p}
	b.Queue(p.Queue).Decide(batch, b.clock.Now())
	return batch[0]
}

func (b *bench) saved(t testing.TB, counters bool) string {
	t.Helper()
	var text strings.Builder
	if err := b.Save(&text, counters); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// TestMeets asks one rule at a time about one packet.
func TestMeets(t *testing.T) {
	for _, c := range []struct {
		rule   string
		packet capture.Packet
		want   outcome
	}{
		{"", v4, yes},
		{"-s 192.0.2.1", v4, yes},
		{"-s 192.0.2.0/24", v4, yes},
		{"-s 192.0.2.2", v4, no},
		{"! -s 192.0.2.2", v4, yes},
		{"! -s 192.0.2.2", v6, no},
		{"! -s 0/0", v4, no},
		{"-s 192.0.0.1/255.0.255.255", v4, no},
		{"-s 192.1.2.1/255.0.255.255", v4, yes},
		{"-d 198.51.100.7", v4, yes},
		{"-d 192.0.2.1", v4, no},
		{"-s 2001:db8::/32", v6, yes},
		{"-s 2001:db8::2", v6, no},
		{"-s 2001:db8::/32", v4, no},
		{"-4", v4, yes},
		{"-4", v6, no},
		{"-6", v6, yes},
		{"-i eth0", v4, yes},
		{"-i eth", v4, no},
		{"-i eth+", v4, yes},
		{"! -i eth+", v4, no},
		{"-i eth0+", v4, yes},
		{"-i eth00+", v4, no},
		{"-o eth1", v4, yes},
		{"-o eth0", with(v4, devices("eth0", "")), no},
		{"! -o eth0", with(v4, devices("eth0", "")), yes},
		{"-o +", with(v4, devices("eth0", "")), yes},
		{"-p tcp", v4, yes},
		{"-p tcp", v6, yes},
		{"-p udp", v4, no},
		{"! -p udp", v4, yes},
		{"! -p tcp", v4, no},
		{"-p tcp", with(v6, nowhere), hotdrop},
		{"! -p tcp", with(v6, nowhere), hotdrop},
		{"-s 2001:db8::2 -p tcp", with(v6, nowhere), no},
		{"-s 2001:db8::1", with(v6, nowhere), yes},
		{"-f", v4, no},
		{"-f", with(v4, fragment(100)), yes},
		{"! -f", v4, yes},
		{"! -f", with(v4, fragment(100)), no},
		{"! -f", v6, no},
		{"-p tcp --dport 22", v4, yes},
		{"-p tcp --dport 22", v6, yes},
		{"-p tcp --dport 23", v4, no},
		{"-p tcp ! --dport 23", v4, yes},
		{"-p tcp --sport 1000:1024 --dport :22", v4, yes},
		{"-p tcp --sport 1000:1023", v4, no},
		{"-p tcp --dport 22", with(v4, udp), no},
		{"-p tcp --dport 22", with(v4, fragment(2)), no},
		{"-p tcp --dport 22", with(v4, fragment(1)), hotdrop},
		{"-p tcp --dport 22", with(v6, fragment(1)), no},
		{"-p tcp --dport 22", with(v4, truncated), hotdrop},
		{"-p tcp --dport 22", with(v4, cut), hotdrop},
		{"-p tcp ! --dport 22", with(v4, truncated), hotdrop},
		{"-p tcp -m tcp", with(v4, truncated), hotdrop},
		{"-p tcp", with(v4, truncated), yes},
		{"-p tcp --syn", v4, yes},
		{"-p tcp --syn", with(v4, flags(0x12)), no},
		{"-p tcp ! --syn", with(v4, flags(0x12)), yes},
		{"-p tcp --tcp-flags SYN,ACK SYN,ACK", with(v4, flags(0x12)), yes},
		{"-p tcp --tcp-flags ALL NONE", with(v4, flags(0xc0)), yes},
		{"-p udp --dport 22", with(v4, udp), yes},
		{"-p udp --dport 22", with(v4, udp, fragment(1)), no},
		{"-p udp --dport 22", with(v4, udp, truncated), hotdrop},
		{"-p sctp --dport 22", with(v4, protocol(unix.IPPROTO_SCTP)), yes},
		{"-p sctp ! --sport 1:1023", with(v4, protocol(unix.IPPROTO_SCTP)), yes},
		{"-p tcp -m multiport --dports 21,22:25", v4, yes},
		{"-p tcp -m multiport --sports 21,22:25", v4, no},
		{"-p tcp -m multiport ! --sports 21,22:25", v4, yes},
		{"-p tcp -m multiport --ports 1024", v4, yes},
		{"-p tcp -m multiport --ports 22", v4, yes},
		{"-p tcp -m multiport --ports 23", v4, no},
		{"-p dccp -m multiport --dports 22", with(v4, protocol(unix.IPPROTO_DCCP)), yes},
		{"-p tcp -m multiport --dports 22", with(v4, fragment(1)), no},
		{"-p tcp -m multiport --dports 22", with(v4, truncated), hotdrop},
		{"-p tcp -m multiport --dports 22", with(v4, cut), yes},
		{"-p tcp -m multiport ! --ports 22", with(v4, cut), no},
		{"-p udp -m multiport --dports 22", with(v6, udp, cut), yes},
		{"-p icmp --icmp-type 8", with(v4, icmp(8, 0)), yes},
		{"-p icmp --icmp-type 8", with(v4, icmp(8, 9)), yes},
		{"-p icmp --icmp-type 8/0", with(v4, icmp(8, 9)), no},
		{"-p icmp ! --icmp-type 8", with(v4, icmp(0, 0)), yes},
		{"-p icmp --icmp-type any", with(v4, icmp(77, 7)), yes},
		{"-p icmp ! --icmp-type any", with(v4, icmp(77, 7)), no},
		{"-p icmp --icmp-type 8", with(v4, icmp(8, 0), truncated), hotdrop},
		{"-p icmp --icmp-type 8", with(v4, icmp(8, 0), fragment(1)), no},
		{"-p icmpv6 --icmpv6-type 128", with(v6, icmp(128, 0)), yes},
		{"-p icmpv6 --icmpv6-type 255", with(v6, icmp(128, 0)), no},
		{"-p icmpv6 --icmpv6-type 1/3", with(v6, icmp(1, 3)), yes},
		{"-p icmpv6 --icmpv6-type 128", with(v6, icmp(128, 0), truncated), hotdrop},
		{"-p icmpv6 ! --icmpv6-type 1", with(v6, icmp(128, 0), fragment(1)), no},
		{"-m mark --mark 1", with(v4, mark(1)), yes},
		{"-m mark --mark 1/1", with(v4, mark(3)), yes},
		{"-m mark --mark 3/1", with(v4, mark(3)), no},
		{"-m mark ! --mark 1", v4, yes},
		{"-m ttl --ttl-eq 64", v4, yes},
		{"-m ttl --ttl-eq 63", v4, no},
		{"-m ttl --ttl-eq 65", v4, no},
		{"-m ttl --ttl-eq 0", with(v4, ttl(0)), yes},
		{"-m ttl ! --ttl-eq 64", v4, no},
		{"-m ttl ! --ttl-eq 65", v4, yes},
		{"-m ttl --ttl-lt 64", v4, no},
		{"-m ttl --ttl-lt 65", v4, yes},
		{"-m ttl --ttl-lt 0", with(v4, ttl(0)), no},
		{"-m ttl --ttl-gt 64", v4, no},
		{"-m ttl --ttl-gt 63", v4, yes},
		{"-m ttl --ttl-gt 255", with(v4, ttl(255)), no},
		{"-m ttl --ttl-gt 63 -m ttl --ttl-lt 64", v4, no},
		{"-m ttl --ttl-eq 64", v6, no},
		{"-m ttl ! --ttl-eq 65", v6, no},
		{"-m ttl --ttl-eq 64", with(v4, fragment(1)), yes},
		{"-m length --length 60", v4, yes},
		{"-m length --length 60", v6, yes},
		{"-m length --length 59", v4, no},
		{"-m length --length 60:61", v4, yes},
		{"-m length --length 59:60", v4, yes},
		{"-m length --length 61:", v4, no},
		{"-m length --length :59", v4, no},
		{"-m length --length 61:59", v4, no},
		{"-m length ! --length 60", v4, no},
		{"-m length ! --length 61:", v4, yes},
		{"-m length ! --length 61:59", v4, yes},
		{"-m length --length :", v4, yes},
		{"-m length --length 60:", with(v4, length(65535)), yes},
		{"-m length --length :", with(v4, length(65536)), no},
		{"-m length --length 60", with(v6, length(1<<16+60)), no},
		{"-m length ! --length :", with(v6, length(1<<16+60)), yes},
		{"-m length --length 60", with(v4, truncated), yes},
		{"-m comment --comment no -m mark --mark 0", v4, yes},
		{"-m recent --set", v4, yes},
		{"-m recent ! --set", v6, no},
		{"-m recent --rcheck", v4, no},
		{"-m recent ! --rcheck", v4, yes},
		{"-m recent --set --rdest -m recent --rcheck --rdest", v4, yes},
		{"-m recent --set --rdest -m recent --rcheck", v4, no},
	} {
		t.Run(c.rule, func(t *testing.T) {
			b := load(t, document(c.rule))
			r := &b.rules[0]
			h := hold{now: b.clock.Now()}
			got := r.meets(&c.packet, &h)
			h.End()
			if got != c.want {
				t.Errorf("%+v: outcome %d, want %d", c.packet.Header, got, c.want)
			}
		})
	}
}

// TestShortCircuit: a match after one that does not match is not asked, and so
// changes no table.
func TestShortCircuit(t *testing.T) {
	b := load(t, document("-p tcp --dport 23 -m recent --set --name A"))
	b.decide(with(v4, func(p *capture.Packet) { p.Queue = 7 }))
	if n := addresses(t, b.reg.Table("A")); n != 0 {
		t.Errorf("%d addresses in the table, want none", n)
	}
}

// TestSSH has the most common rules: after four connections in a minute the next
// one is dropped.
func TestSSH(t *testing.T) {
	b := load(t, ssh)
	for i, want := range []capture.Verdict{
		capture.Accept, capture.Accept, capture.Accept, capture.Accept, capture.Drop,
	} {
		b.clock.Advance(10 * time.Second)
		if got := b.decide(v4).Verdict; got != want {
			t.Errorf("connection %d: verdict %d, want %d", i+1, got, want)
		}
	}
	b.clock.Advance(61 * time.Second)
	if got := b.decide(v4).Verdict; got != capture.Accept {
		t.Errorf("a minute later: verdict %d, want accept", got)
	}
	if got := b.decide(with(v4, portsOf(1024, 80))).Verdict; got != capture.Accept {
		t.Errorf("to port 80: verdict %d, want accept", got)
	}
	want := `*recent
:QUEUE0 ACCEPT [6:360]
[1:60] -A QUEUE0 -p tcp -m tcp --dport 22 -m recent --update --seconds 60 --hitcount 4 --name SSH --mask 255.255.255.255 --rsource -j DROP
[5:300] -A QUEUE0 -p tcp -m tcp --dport 22 -m recent --set --name SSH --mask 255.255.255.255 --rsource
COMMIT
`
	if got := b.saved(t, true); got != want {
		t.Errorf("counters:\n%s\nwant\n%s", got, want)
	}
}
