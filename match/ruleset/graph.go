package ruleset

import (
	"errors"
	"fmt"

	"recentfs/match/recent"
)

// maxVisits bounds what one packet can cost: the rules that it visits on its
// way through the chains, and their matches. Chains that call two chains that
// call two ... double the way with each of them, and 40 such chains would take
// hours for each packet, as they do in the kernel.
//
// A -m recent that may have to look at many stamps counts as more visits: with
// 60,000 stamps it takes 20 us. A million visits take 5 to 20 ms, and as long
// with 20, 255 or 60,000 stamps.
const maxVisits = 1_000_000

// weigh finds out how many visits each -m recent counts as. A table has room for
// as many stamps as the rule that needs the most of them. Where the rules before
// a reload needed more, it has room for those. That is found out by Load.
func (f *File) weigh(p recent.Params) {
	rings := make(map[string]uint32)
	f.eachRecent(func(_ *match, m *recentMatch) {
		rings[m.info.Name] = max(rings[m.info.Name], p.Ring(m.info.HitCount))
	})
	f.eachRecent(func(at *match, m *recentMatch) { at.visits = m.visits(rings[m.info.Name]) })
}

func (f *File) eachRecent(do func(at *match, m *recentMatch)) {
	for c := range f.chains {
		for i := range f.chains[c].rules {
			matches := f.chains[c].rules[i].matches
			for j := range matches {
				if m, ok := matches[j].matcher.(*recentMatch); ok {
					do(&matches[j], m)
				}
			}
		}
	}
}

// check finds chains in which a packet would walk for ever or too long, and how
// deep jumps can be nested. Lines that were refused are missing from the chains:
// what check says does not follow from them, nor from another thing that it says.
func (f *File) check(p *problems) {
	refused := len(p.all) > 0
	g := &graph{File: f, problems: p, nodes: make([]node, len(f.chains))}
	for c := range f.chains {
		g.visit(c)
		f.depth = max(f.depth, g.nodes[c].depth)
	}
	g.checkHandover()
	g.checkRepeat(refused)
}

// graph is the chains with what is known about each.
type graph struct {
	*File
	*problems
	nodes []node
	order []int // indexes of chains; a chain comes after those that it calls
}

type node struct {
	open, done bool
	depth      int  // how many jumps are nested in it
	visits     int  // how many a packet makes in it and in what it calls, at worst; 0 if tooLong
	tooLong    bool // it has too many visits, or calls a chain that has
	marks      bool // a MARK is in it or in what it calls
	reached    bool // packets get here; for checkRepeat
	unmarked   bool // packets get here without passing a MARK; for checkRepeat
}

// visit goes through a chain and all that it calls by -j or -g, and finds
// loops. mark_source_chains does so for the chains that packets can reach. A jump
// that closes a loop is then passed by, as if it were removed.
//
// It also counts the visits on the longest way through the chain, where any
// rule may match or not: a packet that returns from a jump goes on with the
// next rule, one that goes to another chain does not come back. Each chain is
// counted once. One that has too many, and one that calls it, count as nothing
// where they are called: nobody is blamed for another, and the count cannot overflow.
func (g *graph) visit(c int) {
	n := &g.nodes[c]
	if n.done {
		return
	}
	n.open = true
	here, said := 0, false // visits up to rule i, and whether they were too many
	for i := range g.chains[c].rules {
		r := &g.chains[c].rules[i]
		here += r.visits()
		through := here
		if r.kind == targetMark {
			n.marks = true
		}
		if r.calls() && g.call(c, r) {
			through += g.nodes[r.to].visits
		}
		n.visits = max(n.visits, through)
		if r.kind == targetJump {
			here = through
		}
		if n.visits > maxVisits && !said {
			said = true
			g.tooLong(c, r.line)
		}
	}
	if n.tooLong = n.tooLong || said; n.tooLong {
		n.visits = 0
	}
	n.open, n.done = false, true
	g.order = append(g.order, c)
}

// call visits the chain that a rule of chain c calls. It is false if the rule
// closes a loop.
func (g *graph) call(c int, r *rule) bool {
	n, called := &g.nodes[c], &g.nodes[r.to]
	if called.open {
		from, to := g.chains[c].name, g.chains[r.to].name
		g.add(r.line, once{"loop:" + from + " " + to, fmt.Errorf("a packet would loop: chain %s leads back to itself by the jump from %s to %s, remove that jump", to, from, to)})
		return false
	}
	g.visit(r.to)
	depth := called.depth
	if r.kind == targetJump {
		depth++
	}
	n.depth = max(n.depth, depth)
	n.marks = n.marks || called.marks
	n.tooLong = n.tooLong || called.tooLong
	return true
}

func (g *graph) tooLong(c, line int) {
	g.add(line, fmt.Errorf("chain %s is too long: up to this rule a packet can visit more than %d rules and matches, counting those of the chains that are called on the way, and -m recent --seconds once more for each %d stamps that its table keeps; call fewer chains, use -g where the packet need not come back, or lower --hitcount or ip_pkt_list_tot",
		g.chains[c].name, maxVisits, stampsPerVisit))
}

// visits is how many visits a packet makes in the rule, if it meets all matches.
func (r *rule) visits() int {
	n := 1
	for i := range r.matches {
		n += r.matches[i].visits
	}
	return n
}

// checkHandover finds NFQUEUE rules that hand a packet back to a queue that it
// came from, directly or through other queues.
func (g *graph) checkHandover() {
	to := make(map[int][]*rule)
	for c := range g.chains {
		if g.chains[c].builtin {
			to[c] = g.handovers(c, make([]bool, len(g.chains)), nil)
		}
	}
	open, done := make(map[int]bool), make(map[int]bool)
	said := make(map[*rule]bool) // several queues may come to a rule
	var visit func(c int)
	visit = func(c int) {
		open[c] = true
		for _, r := range to[c] {
			next := g.owner(r.queue)
			switch {
			case next < 0 || done[next]:
			case !open[next]:
				visit(next)
			case !said[r]:
				said[r] = true
				g.add(r.line, fmt.Errorf("NFQUEUE --queue-num %d: a packet of chain %s would come back to it for ever, use a queue of another program",
					r.queue, g.chains[next].name))
			}
		}
		open[c], done[c] = false, true
	}
	for c := range g.chains {
		if g.chains[c].builtin && !done[c] {
			visit(c)
		}
	}
}

// handovers are the NFQUEUE rules of a chain and of what it calls.
func (g *graph) handovers(c int, seen []bool, all []*rule) []*rule {
	seen[c] = true
	for i := range g.chains[c].rules {
		switch r := &g.chains[c].rules[i]; {
		case r.kind == targetQueue:
			all = append(all, r)
		case r.calls() && !seen[r.to]:
			all = g.handovers(r.to, seen, all)
		}
	}
	return all
}

// owner is the index of the chain that has a queue, or -1.
func (g *graph) owner(queue uint16) int {
	for c := range g.chains {
		if o := &g.chains[c]; o.builtin && o.first <= queue && queue <= o.last {
			return c
		}
	}
	return -1
}

// checkRepeat finds a REPEAT that packets can reach without passing a MARK
// rule: the kernel's rule would queue the same packet again. A MARK rule that a
// packet passes may still not match it. Then Decide does not repeat the packet.
// That is enough if no mark can come back (checkMarks).
//
// If lines were refused, the MARK rule may be one of them.
func (g *graph) checkRepeat(refused bool) {
	for c := range g.chains {
		if g.chains[c].builtin {
			g.nodes[c].reached, g.nodes[c].unmarked = true, true
		}
	}
	repeats := false
	for i := len(g.order) - 1; i >= 0; i-- {
		n := &g.nodes[g.order[i]]
		if !n.reached {
			continue
		}
		unmarked := n.unmarked
		rules := g.chains[g.order[i]].rules
		for j := range rules {
			switch r := &rules[j]; {
			case r.kind == targetRepeat:
				repeats = true
				if unmarked && !refused {
					g.add(r.line, errors.New("REPEAT would loop: before it, set a mark that the kernel's rule excludes (-j MARK --set-mark)"))
				}
			case r.kind == targetMark:
				unmarked = false
			case r.calls():
				called := &g.nodes[r.to]
				called.reached = true
				called.unmarked = called.unmarked || unmarked
				if r.kind == targetJump && called.marks {
					unmarked = false
				}
			}
		}
	}
	if repeats {
		g.checkMarks()
	}
}

// checkMarks is for a file with REPEAT. It finds a MARK rule that could give a
// packet a mark that it had before, so that it would go round for ever. There
// are no such rules if all of them only set bits, or if all of them are the same
// and a second time changes nothing.
func (g *graph) checkMarks() {
	var first *rule
	bitsOnly, same := true, true
	for c := range g.chains {
		rules := g.chains[c].rules
		for i := range rules {
			r := &rules[i]
			if r.kind != targetMark {
				continue
			}
			if first == nil {
				first = r
			}
			bitsOnly = bitsOnly && r.mark == r.mask
			same = same && r.mark == first.mark && r.mask == first.mask && r.mark&^r.mask == 0
			if !bitsOnly && !same {
				g.add(r.line, errors.New("with REPEAT, this MARK can give a packet the mark that it came with, and it would loop: set bits with --or-mark in all MARK rules, or give all the same --set-mark"))
				return
			}
		}
	}
}
