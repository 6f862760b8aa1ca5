package recent

import (
	"fmt"
	"math/bits"
	"strings"
	"syscall"

	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// Flags are the bits of check_set in include/uapi/linux/netfilter/xt_recent.h.
type Flags uint8

// Of the first four, a rule has exactly one. TTL and Reap modify Check and
// Update.
const (
	Check  Flags = 1 << iota // --rcheck
	Set                      // --set
	Update                   // --update
	Remove                   // --remove
	TTL                      // --rttl
	Reap                     // --reap

	actions   = Check | Set | Update | Remove
	modifiers = TTL | Reap
)

// Side says which address of a packet a rule looks at.
type Side uint8

// The sides, as XT_RECENT_SOURCE and XT_RECENT_DEST.
const (
	Source Side = iota // --rsource
	Dest               // --rdest
)

// AllOnes is the mask that changes no address.
var AllOnes = [16]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}

// Info is what a rule says: the kernel's struct xt_recent_mtinfo_v1.
type Info struct {
	Seconds  uint32 // 0 counts stamps of any age
	HitCount uint32 // 0 needs one stamp, as 1 does
	CheckSet Flags
	Invert   bool
	Name     string // the table's
	Side     Side
	// Mask is laid over an address before it is looked up. A table keeps the
	// mask of the rule that made it. Classic knows only AllOnes.
	Mask [16]byte
}

// CheckRule refuses what recent_mt_check refuses, without touching a table.
func (p Params) CheckRule(info *Info) error {
	if unknown := info.CheckSet &^ (actions | modifiers); unknown != 0 {
		return invalid("unknown flag bits %#02x", uint8(unknown))
	}
	if bits.OnesCount8(uint8(info.CheckSet&actions)) != 1 {
		return invalid("exactly one of --set, --rcheck, --update and --remove is needed")
	}
	if info.CheckSet&(Set|Remove) != 0 &&
		(info.Seconds != 0 || info.HitCount != 0 || info.CheckSet&modifiers != 0) {
		return invalid("--seconds, --hitcount, --rttl and --reap go with --rcheck or --update only")
	}
	if info.CheckSet&Reap != 0 && info.Seconds == 0 {
		return invalid("--reap needs --seconds, 1 or more")
	}
	if most := p.maxHitCount(); info.HitCount > most {
		if p.Compat == Classic {
			return invalid("hitcount (%d) is larger than packets to be remembered (%d): %s", info.HitCount, most, stampsFor(info.HitCount))
		}
		return invalid("hitcount (%d) is larger than allowed maximum (%d)", info.HitCount, most)
	}
	if err := checkName(info.Name); err != nil {
		return err
	}
	if p.Compat == Classic && info.Mask != AllOnes {
		return invalid("--mask needs --compat modern: the classic module has no masks")
	}
	return nil
}

// stampsFor says how a table gets enough stamps for a hitcount.
func stampsFor(hitCount uint32) string {
	if hitCount > maxPktListClassic {
		return fmt.Sprintf("--compat modern takes one up to %d", maxStampsModern-1)
	}
	return fmt.Sprintf("raise ip_pkt_list_tot, as by -o ip_pkt_list_tot=%d", hitCount)
}

// checkName refuses the names that a table cannot have: xt_check_proc_name. The
// kernel's classic module takes names that no file can have.
func checkName(name string) error {
	switch {
	case name == "":
		return invalid("a table's name is empty")
	case len(name) >= nameLen:
		return invalid("table name %.20q... has %d bytes: it may have %d", name, len(name), nameLen-1)
	case name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return invalid("table name %q: no file can have it", name)
	}
	return nil
}

// Rule is one -m recent of a rule. It holds a reference on its table until
// Registry.Destroy.
type Rule struct {
	info   Info
	table  *Table
	window jiffies.Jiffies // info.Seconds in jiffies, a 32-bit product
	ring   uint32          // stamps per address in the table
	number uint32          // among those that were made together
}

// Ring is the number of stamps per address that the rule's table has room for, or
// will have when the rule's Reload has widened it. It is more than the rules need
// where earlier ones needed more.
func (r *Rule) Ring() uint32 { return r.ring }

// Batch holds a table's lock for several packets, and for the rules that each of
// them meets. It holds one lock at most, so that the locks of two tables need no
// order. The zero Batch holds none, and has no Receipt.
type Batch struct {
	held *Table
	// Receipt is where another process finds how far this one came; nil if none will.
	Receipt *Receipt
	// again and done are of a packet that a process before has begun: its operation
	// that is met next, and how many it has done. They are the same otherwise.
	again, done uint32
}

// End gives the lock back. The caller of Match must call it before anything that
// may wait.
func (b *Batch) End() {
	if b.held != nil {
		b.held.mu.Unlock()
		b.held = nil
	}
}

// hold takes another table's lock.
func (b *Batch) hold(t *Table) {
	b.End()
	t.lockToChange()
	b.held = t
}

// Match tells whether the rule matches a packet, and does to the table what
// the rule does to it: recent_mt.
//
// src and dst hold an IPv4 address in their first four bytes, and zeroes in the
// others. leaving says that the packet goes out by a device and has no socket on
// this machine. A rule whose table is gone matches as if the table were empty
// and stayed so.
//
// The kernel drops a packet when it has no memory for the entry (hotdrop). Here
// a table has its memory from the start.
func (r *Rule) Match(b *Batch, now jiffies.Jiffies, family uint8, src, dst *[16]byte, ttl uint8, leaving bool) bool {
	if r.info.Side == Dest {
		src = dst
	}
	// Use the TTL as seen before forwarding; 255 wraps to 0, which any matches.
	if leaving {
		ttl++
	}
	if b.Receipt != nil {
		return r.matchNoted(b, now, family, src, ttl)
	}
	t := r.table
	if b.held != t {
		b.hold(t)
	}
	return r.match(t, nil, now, family, addr.Load(src).And(t.mask), ttl)
}

// matchNoted is the rest of Match where there is a Receipt.
func (r *Rule) matchNoted(b *Batch, now jiffies.Jiffies, family uint8, src *[16]byte, ttl uint8) bool {
	if b.again != b.done {
		if matched, known := b.repeat(r.number); known {
			return matched
		}
	}
	t := r.table
	if b.held != t {
		b.hold(t)
	}
	matched := r.match(t, b.Receipt, now, family, addr.Load(src).And(t.mask), ttl)
	b.Receipt.end(outcomeOf(r.number, matched))
	return matched
}

// match is the part of recent_mt under recent_lock. t.mu is held.
func (r *Rule) match(t *Table, receipt *Receipt, now jiffies.Jiffies, family uint8, a addr.Addr, ttl uint8) bool {
	hit, miss := !r.info.Invert, r.info.Invert
	set := r.info.CheckSet
	asked := uint8(0)
	if set&TTL != 0 {
		asked = ttl
	}
	n := t.lookup(a, family, asked)
	if n == 0 {
		if set&Set == 0 || t.dead {
			return miss
		}
		receipt.begin(t, r.number, hit)
		t.add(a, family, ttl, now)
		return hit
	}
	switch {
	case set&Set != 0:
		receipt.begin(t, r.number, hit)
		t.update(n, ttl, now, 0)
		return hit
	case set&Remove != 0:
		receipt.begin(t, r.number, hit)
		t.drop(n)
		return hit
	}
	matched := miss
	since := now - r.window
	if r.enough(t.stamps(n), since) {
		matched = hit
	}
	updates := set&Update != 0 && matched
	reaped := uint32(0)
	if set&Reap != 0 {
		reaped = t.reapable(since, n, updates)
	}
	switch {
	case updates:
		receipt.begin(t, r.number, matched)
		t.update(n, ttl, now, reaped)
	case reaped != 0:
		receipt.begin(t, r.number, matched)
		t.drop(reaped)
	}
	return matched
}

// enough tells whether the rule's hitcount of stamps, or more, are no older than
// since.
func (r *Rule) enough(stamps []jiffies.Jiffies, since jiffies.Jiffies) bool {
	want := max(r.info.HitCount, 1)
	if uint32(len(stamps)) < want {
		return false
	}
	if r.info.Seconds == 0 {
		return true
	}
	for _, s := range stamps {
		if since.After(s) {
			continue
		}
		if want--; want == 0 {
			return true
		}
	}
	return false
}

// errGone is the error of procfs for a file whose entry is gone.
var errGone = syscall.EIO
