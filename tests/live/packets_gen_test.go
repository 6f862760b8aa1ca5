package live

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"recentfs/tests/lab"
)

// scenario is a random ruleset, and random packets and writes for it.
type scenario struct {
	*rand.Rand
	names    []string // of tables
	families []lab.Family
	hooks    []string // of the kernel's that lead to the rules
	ways     []way    // that lead to the hooks
	timed    bool     // its rules have windows that end during the run
	wide     bool     // more addresses than a table keeps
	rules    []liveRule
	steps    []liveStep
	seconds  []uint32 // that rules ask for
}

type liveRule struct {
	family lab.Family
	text   string
}

// liveStep is a burst of packets, a write to a table's file, or one more rule, at
// some time after the start.
type liveStep struct {
	at           time.Duration
	packets      []livePacket
	table, write string
	widen        string
}

// way is how a packet goes through the kernel, and the hooks that it passes.
type way struct {
	name  string
	hooks []string
}

var (
	wayIn      = way{"in", []string{"PREROUTING", "INPUT"}}
	wayThrough = way{"through", []string{"PREROUTING", "FORWARD", "POSTROUTING"}}
	wayOut     = way{"out", []string{"OUTPUT", "POSTROUTING"}}
	allHooks   = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
)

type livePacket struct {
	way      string
	src, dst netip.Addr
	ttl      uint8
	port     uint16 // the source port
	payload  int
}

// livePort is the destination port of every packet here, so that the rules ignore
// what the kernel itself sends.
const livePort = 7777

// newScenario makes a scenario. The names of its tables begin with unique, so that
// they are not the tables of an earlier one.
func newScenario(r *rand.Rand, unique string) *scenario {
	s := &scenario{Rand: r, timed: r.IntN(3) == 0}
	s.wide = !s.timed && r.IntN(6) == 0
	for n := range 1 + r.IntN(3) {
		s.names = append(s.names, fmt.Sprint(unique, "t", n))
	}
	s.families = [][]lab.Family{{lab.IPv4}, {lab.IPv6}, lab.Families, lab.Families}[r.IntN(4)]
	for len(s.ways) == 0 {
		s.hooks = nil
		for range 1 + r.IntN(2) {
			if h := allHooks[r.IntN(len(allHooks))]; !slices.Contains(s.hooks, h) {
				s.hooks = append(s.hooks, h)
			}
		}
		for _, w := range []way{wayIn, wayThrough, wayOut} {
			if slices.ContainsFunc(w.hooks, func(h string) bool { return slices.Contains(s.hooks, h) }) {
				s.ways = append(s.ways, w)
			}
		}
	}
	for _, f := range s.families {
		for range 1 + r.IntN(5) {
			s.rules = append(s.rules, liveRule{f, s.rule(f)})
		}
	}
	s.plan()
	return s
}

// kernels are the rules for iptables-restore.
func (s *scenario) kernels(f lab.Family) string {
	var b strings.Builder
	b.WriteString("*mangle\n:LIVE - [0:0]\n")
	for _, h := range s.hooks {
		fmt.Fprintf(&b, "-A %s -p udp -m udp --dport %d -j LIVE\n", h, livePort)
	}
	for _, r := range s.rules {
		if r.family == f {
			fmt.Fprintf(&b, "-A LIVE %s\n", r.text)
		}
	}
	b.WriteString("-A LIVE -j NFQUEUE --queue-num 0\nCOMMIT\n")
	return b.String()
}

// ours are the rules for the daemon: those for IPv4 first, which is also the
// order in which the kernel gets them.
func (s *scenario) ours() string {
	var b strings.Builder
	for _, f := range lab.Families {
		for _, r := range s.rules {
			if r.family == f {
				fmt.Fprintf(&b, "-A QUEUE0 %s %s\n", map[string]string{"IPv4": "-4", "IPv6": "-6"}[f.Name], r.text)
			}
		}
	}
	return fmt.Sprintf(feed, b.String())
}

func (s *scenario) rule(f lab.Family) string {
	var b strings.Builder
	b.WriteString("-p udp")
	if s.IntN(4) == 0 {
		fmt.Fprintf(&b, " -m udp --sport %d", s.port())
	}
	s.header(&b, f)
	for range 1 + s.IntN(5)/2 {
		b.WriteString(" -m recent")
		s.match(&b, f)
	}
	return b.String()
}

// header adds a -m ttl or -m length now and then.
func (s *scenario) header(b *strings.Builder, f lab.Family) {
	if f.Name == "IPv4" && s.IntN(4) == 0 {
		ttls := []int{0, 1, 2, 62, 63, 64, 65, 127, 254, 255}
		fmt.Fprintf(b, " -m ttl %s %d", []string{"--ttl-eq", "! --ttl-eq", "--ttl-lt", "--ttl-gt"}[s.IntN(4)], ttls[s.IntN(len(ttls))])
	}
	if s.IntN(4) == 0 {
		size := 28 + s.IntN(100) // of IPv4 with up to 100 bytes, see packet
		if f.Name == "IPv6" {
			size += 20
		}
		fmt.Fprintf(b, " -m length %s--length %s", []string{"", "! "}[s.IntN(2)],
			[]string{fmt.Sprint(size), fmt.Sprint(size, ":"), fmt.Sprint(":", size), fmt.Sprint(size, ":", size+20)}[s.IntN(4)])
	}
}

// match makes up one -m recent that the kernel takes.
func (s *scenario) match(b *strings.Builder, f lab.Family) {
	action := []string{"--set", "--set", "--set", "--rcheck", "--rcheck", "--update", "--update", "--remove"}[s.IntN(8)]
	if s.IntN(4) == 0 {
		b.WriteString(" !")
	}
	fmt.Fprintf(b, " %s --name %s", action, s.names[s.IntN(len(s.names))])
	if action == "--rcheck" || action == "--update" {
		if s.timed && s.IntN(3) > 0 || s.IntN(3) == 0 {
			s.window(b)
		}
		if s.IntN(2) == 0 {
			fmt.Fprintf(b, " --hitcount %d", s.hitcount())
		}
		if s.IntN(3) == 0 {
			b.WriteString(" --rttl")
		}
	}
	b.WriteString([]string{"", " --rsource", " --rdest"}[s.IntN(3)])
	if s.IntN(6) == 0 {
		masks := []string{"255.255.255.0", "255.255.255.252", "255.0.255.254", "0.0.0.255", "0.0.0.0"}
		if f.Name == "IPv6" {
			masks = []string{"ffff:ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc", "::ff", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
		} else if len(s.families) == 1 {
			// The kernel masks an IPv6 address to four bytes with it. We take it
			// for no mask (ruleset.readMask).
			masks = append(masks, "255.255.255.255")
		}
		fmt.Fprintf(b, " --mask %s", masks[s.IntN(len(masks))])
	}
}

func (s *scenario) window(b *strings.Builder) {
	seconds := []uint32{60, 3600, 1 << 24, 1<<32 - 1}[s.IntN(4)]
	if s.timed {
		// The last one's product with HZ wraps to 816 ms (at 250 and 1000 Hz).
		seconds = []uint32{1, 1, 2, 3, 17179870}[s.IntN(5)]
	}
	s.seconds = append(s.seconds, seconds)
	fmt.Fprintf(b, " --seconds %d", seconds)
	if s.IntN(2) == 0 {
		b.WriteString(" --reap")
	}
}

func (s *scenario) hitcount() int {
	if s.IntN(6) == 0 {
		return []int{0, 15, 31, 32, 33, 40, 64, 100}[s.IntN(8)]
	}
	return 1 + s.IntN(5)
}

// windows are the lengths of the rules' --seconds in jiffies, by recent_mt's
// 32-bit product.
func (s *scenario) windows(hz uint32) (all []int64) {
	for _, n := range s.seconds {
		all = append(all, int64(n*hz))
	}
	return all
}

// gap is the time between the moments of a timed scenario: no distance of two
// moments is within 100 ms of a window's length.
const gap = 700 * time.Millisecond

func (s *scenario) plan() {
	moments, bursts, most := 1, 6+s.IntN(6), 12
	if s.timed {
		moments, bursts, most = 4+s.IntN(3), 2, 10
	}
	if s.wide {
		bursts, most = 16, 24
	}
	for m := range moments {
		at := time.Duration(m) * gap
		for range bursts {
			step := liveStep{at: at}
			for range 1 + s.IntN(most) {
				step.packets = append(step.packets, s.packet())
			}
			s.steps = append(s.steps, step)
			if s.IntN(4) == 0 {
				s.steps = append(s.steps, s.writing(at))
			}
		}
		if s.IntN(6*moments) == 0 {
			s.steps = append(s.steps, liveStep{at: at, widen: fmt.Sprintf("-p udp -m recent --rcheck --hitcount %d --name %s", 20+s.IntN(120), s.names[0])})
		}
	}
}

// widen adds a rule that counts more hits, for a family that has rules.
func (s *scenario) widen(text string) {
	s.rules = append(s.rules, liveRule{s.families[0], text})
}

func (s *scenario) writing(at time.Duration) liveStep {
	step := liveStep{at: at, table: s.names[s.IntN(len(s.names))]}
	if !strings.Contains(s.ours(), "--name "+step.table) {
		step.table = s.anyTable()
	}
	step.write = fmt.Sprintf("%s%v\n", []string{"+", "+", "-"}[s.IntN(3)], s.source(s.families[s.IntN(len(s.families))]))
	if s.IntN(12) == 0 {
		step.write = "/"
	}
	return step
}

// anyTable is a table that has a rule.
func (s *scenario) anyTable() string { return s.used()[0] }

// used are the tables that have a rule.
func (s *scenario) used() (names []string) {
	for _, n := range s.names {
		if slices.ContainsFunc(s.rules, func(r liveRule) bool { return strings.Contains(r.text+" ", "--name "+n+" ") }) {
			names = append(names, n)
		}
	}
	return names
}

func (s *scenario) port() uint16 { return uint16(1 + s.IntN(3)) }

func (s *scenario) packet() livePacket {
	f := s.families[s.IntN(len(s.families))]
	w := s.ways[s.IntN(len(s.ways))]
	p := livePacket{way: w.name, src: s.source(f), port: s.port(), payload: s.IntN(100)}
	p.ttl = []uint8{2, 63, 64, 65, 128, 254, 255}[s.IntN(7)]
	if w.name == "in" && s.IntN(4) == 0 {
		p.ttl = uint8(s.IntN(2))
	}
	net := map[string]byte{"in": 0x53, "through": 0x52, "out": 0x52}[w.name]
	if f.Name == "IPv4" {
		p.dst = netip.AddrFrom4([4]byte{10, 10*(net>>4) + net&15, 0, byte(1 + s.IntN(3))})
	} else {
		p.dst = netip.AddrFrom16([16]byte{0: 0xfd, 1: net, 15: byte(1 + s.IntN(3))})
	}
	return p
}

// source is one of a few addresses, or one of more than a table keeps.
func (s *scenario) source(f lab.Family) netip.Addr {
	n := 1 + s.IntN(5)
	if s.wide {
		n = 1 + s.IntN(140)
	}
	if f.Name == "IPv4" {
		return netip.AddrFrom4([4]byte{10, 60, byte(n & 1), byte(n)})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x60, 8: byte(n & 1), 15: byte(n)})
}
