package ruleset

import (
	"strings"
	"sync/atomic"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// Queue decides the packets of one NFQUEUE number and counts them. Only one
// goroutine at a time may use a Queue; different ones may be used at once.
type Queue struct {
	set      *Set
	number   uint16
	start    int   // the chain's first rule, in set.rules
	policy   int   // the chain's policy, the rule after its last one
	stack    []int // where to go on after the jumps that a packet is inside
	hold     hold  // a field, because a local variable of Decide would be allocated
	counters []counter

	unrepeated atomic.Uint64
}

// counter is struct xt_counters. Only the queue's goroutine adds to it.
type counter struct{ packets, bytes atomic.Uint64 }

func (c *counter) add(bytes uint32) {
	c.packets.Store(c.packets.Load() + 1)
	c.bytes.Store(c.bytes.Load() + uint64(bytes))
}

// Counted counts the packets that meet a rule or get the policy, each as often as it does.
// It grows while a batch is decided, and may be called at any time.
func (q *Queue) Counted() (n uint64) {
	for i := range q.counters {
		n += q.counters[i].packets.Load()
	}
	return n
}

// maxHeld is how many visits (see maxVisits) may share one hold of a table's
// lock. A visit takes 5 to 20 ns, however many stamps an entry has, or a few
// hundred if a large table is not in the processor's cache: others wait for a
// table less than 0.1 ms, or about a millisecond at worst. Giving the lock back and taking it again costs about as much as one visit.
const maxHeld = 4096

// hold is what the packets of a batch share: the time at which they are seen,
// and one hold of a table's lock.
type hold struct {
	recent.Batch
	now    jiffies.Jiffies
	visits int // since the lock was last given back
}

// visit counts n visits, and gives the lock back before they are more than
// maxHeld. It is called before a rule or a match is asked.
func (h *hold) visit(n int) {
	if h.visits += n; h.visits > maxHeld {
		h.End()
		h.visits = n
	}
}

// Decide gives each packet its Verdict, and a new Mark with Marked where rules
// change it. now is the time at which the packets are seen.
func (q *Queue) Decide(batch []capture.Packet, now jiffies.Jiffies) {
	q.hold = hold{now: now}
	for i := range batch {
		q.decide(&batch[i])
	}
	q.hold.End()
}

func (q *Queue) decide(p *capture.Packet) {
	came := p.Mark
	p.Verdict = q.walk(p, &q.hold, came)
	p.Marked = p.Mark != came
}

// walk takes a packet through the chain: ipt_do_table. A packet whose headers
// could not be decoded gets the policy. So does a packet that REPEAT would queue
// again with the mark that it came with: it would come back for ever.
func (q *Queue) walk(p *capture.Packet, h *hold, came uint32) capture.Verdict {
	if p.Family == 0 {
		return q.policyOf(p)
	}
	rules, depth := q.set.rules, 0
	for at := q.start; ; {
		r := &rules[at]
		switch r.meets(p, h) {
		case hotdrop:
			return capture.Drop
		case no:
			at++
			continue
		}
		q.counters[at].add(p.Length)
		switch r.kind {
		case targetAccept:
			return capture.Accept
		case targetDrop:
			return capture.Drop
		case targetReturn:
			if depth == 0 {
				return q.policyOf(p)
			}
			depth--
			at = q.stack[depth]
			continue
		case targetJump:
			q.stack[depth] = at + 1
			depth++
			at = r.to
			continue
		case targetGoto:
			at = r.to
			continue
		case targetMark:
			p.Mark = p.Mark&^r.mask ^ r.mark // mark_tg
		case targetRepeat:
			if p.Mark == came {
				q.unrepeated.Add(1)
				return q.policyOf(p)
			}
			return capture.Repeat
		case targetQueue:
			if r.bypass {
				return capture.ToQueue(r.queue).Bypass()
			}
			return capture.ToQueue(r.queue)
		case targetLog:
			q.log(r.log, p, h.now)
		}
		at++
	}
}

// policyOf counts the packet and returns the chain's policy.
func (q *Queue) policyOf(p *capture.Packet) capture.Verdict {
	q.counters[q.policy].add(p.Length)
	if q.set.rules[q.policy].kind == targetAccept {
		return capture.Accept
	}
	return capture.Drop
}

// outcome is what a rule or a match says of a packet.
type outcome uint8

const (
	no outcome = iota
	yes
	// hotdrop ends the walk with DROP: the packet lacks a header that the match
	// needs.
	hotdrop
)

func when(matched bool) outcome {
	if matched {
		return yes
	}
	return no
}

// meets asks the rule's head, then its matches in the order in which they are
// written, up to the first that does not match.
func (r *rule) meets(p *capture.Packet, h *hold) outcome {
	h.visit(1)
	if m := r.head.meets(p); m != yes {
		return m
	}
	for i := range r.matches {
		h.visit(r.matches[i].visits)
		if m := r.matches[i].meets(p, h); m != yes {
			return m
		}
	}
	return yes
}

// meets follows ip_packet_match and ip6_packet_match. The latter drops a packet
// that meets all other conditions if it looks for a protocol and finds none.
func (h *head) meets(p *capture.Packet) outcome {
	if h.family != 0 && h.family != p.Family {
		return no
	}
	switch {
	case h.asked == 0:
		return yes
	case h.asks(testSource) && h.src.contains(&p.Src) == h.not(testSource),
		h.asks(testDest) && h.dst.contains(&p.Dst) == h.not(testDest),
		h.asks(testIn) && h.in.is(p.In) == h.not(testIn),
		h.asks(testOut) && h.out.is(p.Out) == h.not(testOut),
		h.asks(testFragment) && (p.FragmentOffset != 0) == h.not(testFragment):
		return no
	case !h.asks(testProtocol):
		return yes
	case p.NoProtocol:
		return hotdrop
	}
	return when((h.protocol == p.Protocol) != h.not(testProtocol))
}

// asks reports whether a condition is there.
func (h *head) asks(t tests) bool { return h.asked&t != 0 }

// not reports whether a condition is inverted: NF_INVF.
func (h *head) not(t tests) bool { return h.inverted&t != 0 }

// is follows ifname_compare.
func (d *device) is(name string) bool {
	if d.prefix {
		return strings.HasPrefix(name, d.name)
	}
	return name == d.name
}
