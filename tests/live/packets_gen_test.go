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
