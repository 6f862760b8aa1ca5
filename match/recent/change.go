package recent

import (
	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// change is what an operation is about to make of the slots. It is written before
// the operation touches any of them, so that what a killed process left half done
// can be done to its end: redo. It takes a line of the processor's cache, and costs
// a packet through two rules about 4 ns. So it is not written where nothing is kept.
//
// begun counts what packets and writes change. A change is there, as soon as begun
// has moved: doubt relies on it.
//
// The order of the stores counts. A kill stops a thread between two instructions,
// and Go's compiler leaves stores in their order. It may drop a store that
// another one to the same place makes useless. So begun and done are two places,
// and count.
type change struct {
	begun, done uint32 // not the same: the change is under way
	n           uint32 // the slot that becomes entry, 0: none
	victim      uint32 // the slot that becomes free, 0: none
	place       uint32 // of the ring, where stamp goes; ring itself: the stamps are staged
	_           uint32
	stamp       jiffies.Jiffies
	entry       entry
	_           [8]byte
}

// begin says what is about to change.
func (c *change) begin(n, place uint32, stamp jiffies.Jiffies, e entry, victim uint32) {
	c.n, c.victim, c.place, c.stamp, c.entry = n, victim, place, stamp, e
	c.begun++
}

// end says that all of it is done.
func (c *change) end() { c.done = c.begun }

// redo does the change that was under way, and returns its slot, or 0 where there
// was none, and whether its stamps were staged: Merger. Doing it twice is as good as
// once. The index and the lists of entries are made anew after it.
func (r *region) redo() (n uint32, merged bool, err error) {
	h := r.header
	c := &h.change
	if c.begun == c.done {
		return 0, false, nil
	}
	merged = c.place == h.ring
	switch {
	case c.n == c.victim, c.n > h.limit, c.victim > h.limit, c.place > h.ring, merged && c.n == 0:
		return 0, false, invalid("the change under way is of slot %d, place %d, and of slot %d", c.n, c.place, c.victim)
	case c.n != 0 && !c.entry.sound(h.ring):
		return 0, false, invalid("the change under way makes no sense of slot %d", c.n)
	}
	if err := r.reserve(max(h.used, c.n)); err != nil {
		return 0, false, err
	}
	h.used = max(h.used, c.n)
	if c.victim != 0 {
		r.slot(c.victim).family = 0
	}
	switch {
	case merged:
		r.unstage(c.n, c.entry)
	case c.n != 0:
		*r.stampAt(c.n, c.place) = c.stamp
		r.slot(c.n).entry = c.entry
	}
	c.end()
	return c.n, merged, nil
}

// isShort tells whether a new entry would take the place of another one because
// there is no memory.
func (r *region) isShort() bool {
	h := r.header
	return h.entries < h.limit && h.free == 0 && !r.hasRoom()
}

// add makes an entry, in place of the least recently seen where the table is
// full, or where there is no memory for another slot: recent_entry_init. Without
// memory the kernel drops the packet.
func (r *region) add(a addr.Addr, family, ttl uint8, now jiffies.Jiffies) {
	h := r.header
	n := r.slotToAdd()
	e := entry{addr: a, nstamps: 1, index: 1, family: family, ttl: ttl}
	if r.kept {
		h.change.begin(n, 0, now, e, 0)
	}
	r.claim(n)
	r.slot(n).entry = e
	*r.stampAt(n, 0) = now
	r.insert(r.hash(a), n)
	r.append(n)
	h.entries++
	if r.kept {
		h.change.end()
	}
}

// slotToAdd is the slot that a new entry takes: that of the least recently seen
// where there is no other.
func (r *region) slotToAdd() uint32 {
	h := r.header
	n := h.free
	switch {
	case h.entries >= h.limit || n == 0 && !r.hasRoom():
		n = r.slot(0).newer // there is one, since each region has memory for a slot
	case n == 0:
		n = h.used + 1
	}
	return n
}

// claim takes the slot of slotToAdd from the free list, or from its entry.
func (r *region) claim(n uint32) {
	h, s := r.header, r.slot(n)
	switch {
	case n > h.used:
		h.used = n
		if n == manyEntries {
			r.preferHugePages()
		}
	case n == h.free:
		h.free = s.newer
	default:
		r.forget(r.hash(s.addr), n)
		r.unlink(s)
		h.entries--
	}
}

// update adds a stamp to an entry, with the ttl that was seen: recent_entry_update.
// victim is an entry that is dropped in the same operation, or 0.
func (r *region) update(n uint32, ttl uint8, now jiffies.Jiffies, victim uint32) {
	s := r.slot(n)
	i := uint32(s.index)
	if i == r.ring {
		i = 0
	}
	e := s.entry
	e.index = uint16(i + 1)
	e.nstamps = max(e.nstamps, e.index)
	e.ttl = ttl
	if r.kept {
		r.header.change.begin(n, i, now, e, victim)
	}
	if victim != 0 {
		r.remove(victim)
	}
	*r.stampAt(n, i) = now
	s.entry = e
	if s.newer != 0 {
		r.unlink(s)
		r.append(n)
	}
	if r.kept {
		r.header.change.end()
	}
}

// drop drops an entry, as an operation of its own: recent_entry_remove.
func (r *region) drop(n uint32) {
	if r.kept {
		r.header.change.begin(0, 0, 0, entry{}, n)
	}
	r.remove(n)
	if r.kept {
		r.header.change.end()
	}
}

// remove drops an entry, as a part of something else.
func (r *region) remove(n uint32) {
	s := r.slot(n)
	r.forget(r.hash(s.addr), n)
	r.unlink(s)
	s.family = 0
	s.newer, r.header.free = r.header.free, n
	r.header.entries--
}

// reapable is the least recently seen entry if all its stamps are older than
// since, or else 0: recent_entry_reap. It is never the entry that the packet is
// about to update.
func (r *region) reapable(since jiffies.Jiffies, working uint32, updates bool) uint32 {
	n := r.slot(0).newer
	if n == working && updates || !since.After(r.newest(n)) {
		return 0
	}
	return n
}

// newest is the newest stamp of slot n.
func (r *region) newest(n uint32) jiffies.Jiffies {
	return *r.stampAt(n, r.slot(n).newestIndex(r.ring))
}

// unlink takes an entry out of the LRU list.
func (r *region) unlink(s *slot) {
	r.slot(s.older).newer = s.newer
	r.slot(s.newer).older = s.older
}

// append puts an entry at the recent end of the LRU list.
func (r *region) append(n uint32) {
	head, s := r.slot(0), r.slot(n)
	s.older, s.newer = head.older, 0
	r.slot(s.older).newer = n
	head.older = n
}
