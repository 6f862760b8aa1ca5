package recent

import (
	"os"
	"sync/atomic"
	"unsafe"

	"recentfs/match/jiffies"
)

// Resized tells what a table that moved to a region of another size has kept.
type Resized struct {
	Registry *Registry
	Table    *Table
	Kept     uint32 // addresses
	Dropped  uint32 // others
	// Emptied: the table kept nothing, since a rule counts more hits than it had
	// stamps, and no parameter changed.
	Emptied bool
}

// movedAtOnce is how many entries carryOver moves between two steps of
// Module.Progress.
const movedAtOnce = 4096

// evictAtOnce is how many entries evict drops before it lets packets go on.
const evictAtOnce = 256

// resize moves the table's entries to an empty region of another size. What does
// not fit is dropped: the least recently seen entries, and the oldest stamps of
// each entry. Packets wait while the entries are copied, and for nothing else. The
// rules of the Reload keep the table alive.
func (t *Table) resize(to region) (kept, dropped uint32) {
	limit := to.header.limit
	for enough := false; !enough; {
		t.lockToChange()
		n := t.evict(limit, evictAtOnce)
		t.mu.Unlock()
		dropped += n
		enough = n < evictAtOnce
	}
	t.warm(&to)
	t.lockToChange()
	// Some may have come since.
	if t.header.used > to.room && to.reserve(min(t.header.used, limit)) != nil {
		limit = to.room
	}
	dropped += t.evict(limit, t.header.entries)
	if numbers := to.carryOver(&t.region, &t.module.moved); numbers != nil {
		t.layout = t.layout.renumber(numbers)
	}
	kept = to.header.entries
	old := t.replace(to, 0)
	t.mu.Unlock()
	t.release(old)
	return kept, dropped
}

// reserveIn gets memory in another region for the slots that the table uses now.
func (t *Table) reserveIn(to *region) error {
	t.mu.Lock()
	used := t.header.used
	t.mu.Unlock()
	return to.reserve(max(1, min(used, to.header.limit)))
}

// evict drops least recently seen entries, up to most of them, until limit are
// left. It returns how many it dropped.
func (r *region) evict(limit, most uint32) (n uint32) {
	for ; n < most && r.header.entries > limit; n++ {
		r.remove(r.slot(0).newer)
	}
	return n
}

// warm has the kernel map the pages that carryOver will fill. This takes longer
// than to fill them, and no packet must wait for it. The region is empty, so that
// it may be overwritten with zeroes.
func (t *Table) warm(to *region) {
	t.copying.RLock() // the index is read
	defer t.copying.RUnlock()
	t.mu.Lock()
	from, used := t.region, min(t.header.used, to.room)
	t.mu.Unlock()
	if used >= manyEntries {
		to.preferHugePages()
	}
	slots := unsafe.Slice((*byte)(to.slots), (uintptr(used)+1)*to.stride)
	for i := 0; i < len(slots); i += os.Getpagesize() {
		slots[i] = 0
	}
	for i := range from.index {
		if p := from.index[i]; p.n != 0 {
			to.place(p.hash).n = 0
		}
	}
}

// carryOver copies all entries of another region into this one, which is empty
// and has room for as many. Their order in the LRU list stays, and each keeps as
// many of its newest stamps as it has places here. So does the number of each
// slot, and carryOver returns nil. If there are not as many slots here, the
// entries are numbered anew. moved counts some steps of it: see Module.Progress.
func (r *region) carryOver(from *region, moved *atomic.Uint64) (anew numbering) {
	h := r.header
	h.entries, h.used, h.free = from.header.entries, from.header.used, from.header.free
	if h.used > min(h.limit, r.room) {
		anew = from.numbers()
		h.used, h.free = h.entries, 0
	}
	for n := uint32(0); n <= from.header.used; n++ {
		s := *from.slot(n)
		if s.family == 0 && n != 0 && anew != nil {
			continue
		}
		s.older, s.newer = anew.of(s.older), anew.of(s.newer)
		to := anew.of(n)
		*r.slot(to) = s
		if s.family != 0 {
			r.carryStamps(to, from.places(n))
		}
		if n%movedAtOnce == 0 {
			moved.Add(1)
		}
	}
	// With the same secret the hashes stay, and the two indexes are gone through in
	// the same order, which is fast.
	h.key, r.key = from.key, from.key
	for i, p := range from.index {
		if p.n != 0 {
			r.insert(p.hash, anew.of(p.n))
		}
		if i%movedAtOnce == 0 {
			moved.Add(1)
		}
	}
	return anew
}

// carryStamps copies stamps to entry n, of whose slot all else is copied already.
// ring are the places that the stamps are in. In a ring of another size they are
// as if they had come one after the other, and no others before them.
func (r *region) carryStamps(n uint32, ring []jiffies.Jiffies) {
	s, to, size := r.slot(n), r.places(n), uint32(len(ring))
	count := s.stampCount(size)
	if size == r.ring {
		copy(to, ring[:count])
		return
	}
	end := s.newestIndex(size) + 1
	keep := min(count, r.ring)
	if before := keep - min(keep, end); before > 0 { // they begin at the ring's end
		copy(to, ring[size-before:])
		copy(to[before:], ring[:end])
	} else {
		copy(to, ring[end-keep:end])
	}
	s.nstamps, s.index = uint16(keep), uint16(keep)
}

// numbering has the new number of each slot that has an entry. A slot that is free
// has the number of the entry before it. If it is nil, the numbers stay.
type numbering []uint32

// numbers numbers the entries from 1, in the order of their slots.
func (r *region) numbers() numbering {
	anew := make(numbering, r.header.used+1)
	last := uint32(0)
	for n := uint32(1); n <= r.header.used; n++ {
		if r.slot(n).family != 0 {
			last++
		}
		anew[n] = last
	}
	return anew
}

func (a numbering) of(n uint32) uint32 {
	if a == nil {
		return n
	}
	return a[n]
}

// layout tells cursors, which remember a slot by its number, that the slots were
// numbered anew. A cursor keeps the layout that its number is of, and follows the
// chain from there to the table's. The garbage collector frees the layouts before
// that of the slowest cursor. Table.mu guards it.
type layout struct {
	after *layout // nil: this is the last one
	anew  numbering
}

// renumber makes the next layout, and returns it.
func (l *layout) renumber(anew numbering) *layout {
	l.after, l.anew = new(layout), anew
	return l.after
}

// follow brings a cursor to the table's layout: its next slot comes right after the
// entries that were before it. t.mu is held.
func (c *Cursor) follow(w *scratch) {
	if c.layout == nil { // at the start, which is 1 in each
		c.layout = c.t.layout
	}
	for ; c.layout.after != nil; c.layout = c.layout.after {
		for _, n := range []*uint32{&c.next, &w.slot} {
			*n = c.layout.anew[min(*n-1, uint32(len(c.layout.anew)-1))] + 1
		}
	}
}
