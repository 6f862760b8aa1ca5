package recent

import (
	"crypto/rand"
	"errors"
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
	memory  Mapping
	header  *header // at the start of memory; never nil
	kept    bool    // memory outlives the process
	room    uint32  // there is memory for slots 0 to room
	indexed Mapping // what index is in
	index   []ref
	slots   unsafe.Pointer // slot 0

	// The header says this too. It is repeated for speed: a packet through two
	// rules takes 24.9 ns with these fields here, and 26.5 ns without
	// (BenchmarkMatch, 100 addresses).
	stride uintptr
	ring   uint32
	key    addr.Addr

	budget *budget // counts the region; nil: nobody does
}

// slot holds an entry of the LRU list. With four stamps it fills a line of the
// processor's cache.
type slot struct {
	entry
	older uint32 // towards the least recently seen
	newer uint32 // towards the most recently seen; in the free list, the next
}

// entry is the kernel's struct recent_entry without its stamps.
type entry struct {
	addr    addr.Addr
	nstamps uint16
	index   uint16 // where in the ring the next stamp goes
	family  uint8  // 0: the slot is free
	ttl     uint8
	_       uint16
}

const (
	// slotHead is the distance from a slot to its stamps.
	slotHead  = (unsafe.Sizeof(slot{}) + 7) &^ 7
	stampSize = 8
)

// newestIndex is the place of the newest stamp. In a ring of 65536 the 16-bit
// index wraps to 0 after the last place.
func (e *entry) newestIndex(ring uint32) uint32 {
	if e.index == 0 {
		return ring - 1
	}
	return uint32(e.index) - 1
}

// stampCount is the number of places of the ring that hold a stamp. nstamps
// cannot count the last place of a ring of 65536, nor can the kernel's.
func (e *entry) stampCount(ring uint32) uint32 {
	if e.index == 0 {
		return ring
	}
	return uint32(e.nstamps)
}

// newRegion makes an empty region for limit addresses with ring stamps each.
func newRegion(where Memory, limit, ring uint32) (region, error) {
	h := newHeader(limit, ring)
	m, err := where.Make(h.size())
	if errors.Is(err, unix.ENOMEM) {
		err = noMemory(&h)
	}
	if err != nil {
		return region{}, err
	}
	if _, err := m.Reserve(h.slotsEnd(1)); err != nil {
		m.Release()
		return region{}, err
	}
	var key [16]byte
	rand.Read(key[:])
	h.key = addr.Load(&key)
	*(*header)(unsafe.Pointer(&m.Bytes()[0])) = h
	r, err := regionIn(m)
	if err != nil {
		m.Release()
	}
	return r, err
}

func noMemory(h *header) error {
	return &Error{unix.ENOMEM, fmt.Sprintf(
		"%d addresses of %d stamps need %d MB of address space, more than this machine gives: lower ip_list_tot, ip_pkt_list_tot or --hitcount",
		h.limit, h.ring, h.size()>>20)}
}

// regionIn finds the region in memory that holds one, but for its index, which is
// empty.
func regionIn(m Mapping) (region, error) {
	h := (*header)(unsafe.Pointer(&m.Bytes()[0]))
	index, err := Anonymous{}.Make(uint64(h.places) * uint64(unsafe.Sizeof(ref{})))
	if err != nil {
		return region{}, noMemory(h)
	}
	_, goes := m.(anonymous)
	r := region{
		memory:  m,
		kept:    !goes,
		header:  h,
		indexed: index,
		index:   unsafe.Slice((*ref)(unsafe.Pointer(&index.Bytes()[0])), h.places),
		slots:   unsafe.Pointer(&m.Bytes()[slotsAt]),
		stride:  uintptr(h.stride),
		ring:    h.ring,
		key:     h.key,
	}
	return r, r.reserve(max(h.used, 1))
}

// release gives all memory back. The zero region has none.
func (r *region) release() {
	if r.memory != nil {
		if r.budget != nil {
			r.budget.give(r.header) // which is in the memory
		}
		r.memory.Release()
		r.indexed.Release()
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

// preferHugePages asks for large pages from now on.
func (r *region) preferHugePages() {
	// An old kernel may not know it: then the pages stay small.
	_ = unix.Madvise(r.memory.Bytes(), unix.MADV_HUGEPAGE)
	_ = unix.Madvise(r.indexed.Bytes(), unix.MADV_HUGEPAGE)
}

// hasRoom tells whether there is memory for one more slot that was never in use.
func (r *region) hasRoom() bool { return r.header.used < r.room || r.reserve(r.header.used+1) == nil }

// reserve gets memory for slots 0 to n, and maybe for some after them.
func (r *region) reserve(n uint32) error {
	bytes, err := r.memory.Reserve(r.header.slotsEnd(n))
	if err == nil {
		r.room = uint32((min(bytes, r.header.size())-slotsAt)/uint64(r.header.stride)) - 1
	}
	return err
}

// wipe empties the region in place.
func (r *region) wipe() {
	h := r.header
	h.used = 0 // first: what is left of the slots means nothing any more
	h.entries, h.free = 0, 0
	*r.slot(0) = slot{}
	clear(r.index)
}
