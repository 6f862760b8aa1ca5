package recent

import (
	"crypto/rand"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// region is all that a table is, in one piece of memory without pointers. The
// package comment says where everything is. The fields are pointers into the
// memory and copies of what it says; regionIn finds them from the memory alone.
//
// Entries go by number. Number 0 is the head of the LRU list, a ring through
// all entries: its older is the most recently seen, its newer the least. 0 also
// ends the free list, and in the index it means none.
//
// The index uses open addressing with linear probing, and at least half of it is
// empty. So a lookup mostly reads one place of the index and one slot, and in a
// large table the processor waits for memory twice. In the kernel's hlist it also
// waits for the other entries of the chain. It does not wait when it stores into
// the slots of the neighbours in the LRU list.
//
// Table.mu guards the fields, and what is in the memory. Cursors copy out of the
// memory without it.
type region struct {
	memory memory
	header *header // at the start of memory; never nil
	index  []ref
	slots  unsafe.Pointer // slot 0

	// The header says this too. It is repeated for speed: a packet through two
	// rules takes 24.9 ns with these fields here, and 26.5 ns without
	// (BenchmarkMatch, 100 addresses).
	stride uintptr
	ring   uint32
	key    addr.Addr
}

// slot is the kernel's struct recent_entry. With four stamps it fills a line
// of the processor's cache.
type slot struct {
	addr    addr.Addr
	nstamps uint16
	index   uint16 // where in the ring the next stamp goes
	family  uint8  // 0: the slot is free
	ttl     uint8
	older   uint32 // towards the least recently seen
	newer   uint32 // towards the most recently seen; in the free list, the next
}

const (
	// slotHead is the distance from a slot to its stamps.
	slotHead  = (unsafe.Sizeof(slot{}) + 7) &^ 7
	stampSize = 8
)

// newestIndex is the place of the newest stamp. In a ring of 65536 the 16-bit
// index wraps to 0 after the last place.
func (s *slot) newestIndex(ring uint32) uint32 {
	if s.index == 0 {
		return ring - 1
	}
	return uint32(s.index) - 1
}

// stampCount is the number of places of the ring that hold a stamp. nstamps
// cannot count the last place of a ring of 65536, nor can the kernel's.
func (s *slot) stampCount(ring uint32) uint32 {
	if s.index == 0 {
		return ring
	}
	return uint32(s.nstamps)
}

// newRegion makes an empty region for limit addresses with ring stamps each, in
// memory that get gives.
func newRegion(get func(size uint64) (memory, error), limit, ring uint32) (region, error) {
	h := newHeader(limit, ring)
	m, err := get(h.size())
	if err != nil {
		return region{}, &Error{unix.ENOMEM, fmt.Sprintf(
			"%d addresses of %d stamps need %d MB of address space, more than this machine gives: lower ip_list_tot, ip_pkt_list_tot or --hitcount",
			limit, ring, h.size()>>20)}
	}
	var key [16]byte
	rand.Read(key[:])
	h.key = addr.Load(&key)
	*(*header)(unsafe.Pointer(&m.bytes[0])) = h
	return regionIn(m), nil
}

// regionIn finds the region in memory that holds one.
func regionIn(m memory) region {
	h := (*header)(unsafe.Pointer(&m.bytes[0]))
	return region{
		memory: m,
		header: h,
		index:  unsafe.Slice((*ref)(unsafe.Pointer(&m.bytes[unsafe.Sizeof(*h)])), h.places),
		slots:  unsafe.Pointer(&m.bytes[h.slotsAt()]),
		stride: uintptr(h.stride),
		ring:   h.ring,
		key:    h.key,
	}
}

// without is an empty region that has a copy of the header and no memory, so that
// the memory can be released. Lookups in it find nothing.
func (r *region) without() region {
	h := *r.header
	h.entries, h.used, h.free = 0, 0, 0
	return region{header: &h}
}

func (r *region) slot(n uint32) *slot {
	return (*slot)(unsafe.Add(r.slots, uintptr(n)*r.stride))
}

// stampAt is the i-th place of slot n's ring, i being less than ring.
func (r *region) stampAt(n, i uint32) *jiffies.Jiffies {
	return (*jiffies.Jiffies)(unsafe.Add(r.slots, uintptr(n)*r.stride+slotHead+uintptr(i)*stampSize))
}

// stamps are the stamps of slot n in the order of the ring.
func (r *region) stamps(n uint32) []jiffies.Jiffies {
	return (*[1 << 16]jiffies.Jiffies)(unsafe.Pointer(r.stampAt(n, 0)))[:r.slot(n).nstamps]
}

// places are the ring of slot n.
func (r *region) places(n uint32) []jiffies.Jiffies { return unsafe.Slice(r.stampAt(n, 0), r.ring) }

// manyEntries is the number of entries from which on a table asks for huge
// pages. With small pages the processor waits for the page table before it can
// wait for memory. A smaller table would pay for pages that it does not fill.
const manyEntries = 1 << 14

// add makes an entry, in place of the least recently seen where the table is
// full: recent_entry_init.
func (r *region) add(a addr.Addr, family, ttl uint8, now jiffies.Jiffies) {
	h := r.header
	if h.entries >= h.limit {
		r.remove(r.slot(0).newer)
	}
	n := h.free
	if n != 0 {
		h.free = r.slot(n).newer
	} else {
		h.used++
		n = h.used
		if n == manyEntries {
			r.memory.preferHugePages()
		}
	}
	*r.slot(n) = slot{addr: a, nstamps: 1, index: 1, family: family, ttl: ttl}
	*r.stampAt(n, 0) = now
	r.insert(r.hash(a), n)
	r.append(n)
	h.entries++
}

// update adds a stamp to an entry: recent_entry_update.
func (r *region) update(n uint32, now jiffies.Jiffies) {
	s := r.slot(n)
	i := uint32(s.index)
	if i == r.ring {
		i = 0
	}
	*r.stampAt(n, i) = now
	s.index = uint16(i + 1)
	s.nstamps = max(s.nstamps, s.index)
	if s.newer != 0 {
		r.unlink(s)
		r.append(n)
	}
}

// remove drops an entry: recent_entry_remove.
func (r *region) remove(n uint32) {
	s := r.slot(n)
	r.forget(r.hash(s.addr), n)
	r.unlink(s)
	s.family = 0
	s.newer, r.header.free = r.header.free, n
	r.header.entries--
}

// reap drops the least recently seen entry if all its stamps are older than
// since: recent_entry_reap. It keeps the entry that the packet is about to
// update.
func (r *region) reap(since jiffies.Jiffies, working uint32, updates bool) {
	n := r.slot(0).newer
	if n == working && updates {
		return
	}
	if since.After(*r.stampAt(n, r.slot(n).newestIndex(r.ring))) {
		r.remove(n)
	}
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

// wipe empties the region in place. It gives back the pages after the header.
func (r *region) wipe() {
	r.memory.zero(int(unsafe.Sizeof(header{})))
	r.header.entries, r.header.used, r.header.free = 0, 0, 0
}
