package recent

import (
	"crypto/rand"
	"fmt"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// region is a table's memory: one mapping that holds no pointer, so that the
// garbage collector never walks it and it may one day be a mapping of a file.
//
//	index  []ref             the hash table: which slot holds an address
//	slots  [limit+1]slot     each entry, followed by its ring of stamps
//
// Entries go by number. Number 0 is the head of the LRU list, a ring through
// all entries: its older is the most recently seen, its newer the least. 0 also
// ends the free list, and in the index stands for none.
//
// The index is open, with linear probing, and at least half of it is empty. So
// to find an address mostly costs one place of the index and one slot, which are
// what the processor waits for in a large table; the kernel's hlist leads it
// past other entries. For what it stores, in the slots of the neighbours in the
// LRU list, it does not wait.
//
// Memory that no entry ever used is untouched and costs nothing. Every field
// is guarded by Table.mu; what is in mem is changed under it, and copied by
// cursors without.
type region struct {
	mem     []byte
	index   []ref
	slots   unsafe.Pointer // slot 0, in mem
	stride  uintptr        // bytes from one slot to the next
	ring    uint32         // stamps kept per address
	entries uint32
	used    uint32    // entries 1 to used have been in use at some time
	free    uint32    // first of the free list
	key     addr.Addr // secret of the hash, so that nobody can aim at one place
}

// ref is a place of the index.
type ref struct {
	hash uint32 // of the entry's address
	n    uint32 // the entry, 0: none
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

// latest is the place of the newest stamp. In a ring of 65536 the 16-bit
// index wraps to 0 behind the last place.
func (s *slot) latest(ring uint32) uint32 {
	if s.index == 0 {
		return ring - 1
	}
	return uint32(s.index) - 1
}

// inUse is the number of places of the ring that hold a stamp. nstamps cannot
// count the last place of a ring of 65536, nor does the kernel's.
func (s *slot) inUse(ring uint32) uint32 {
	if s.index == 0 {
		return ring
	}
	return uint32(s.nstamps)
}

// slotHead is the distance from a slot to its stamps.
const slotHead = (unsafe.Sizeof(slot{}) + 7) &^ 7

// reserve gives an empty region room for limit addresses with ring stamps.
func (r *region) reserve(limit, ring uint32) error {
	const line = 64 // of the processor's cache
	align := func(n uint64) uint64 { return (n + line - 1) &^ (line - 1) }
	places := uint64(2) << bits.Len32(limit-1) // twice the limit, or more
	entries := uint64(limit) + 1
	slots := align(places * uint64(unsafe.Sizeof(ref{})))
	stride := uint64(slotHead) + uint64(ring)*8
	size := slots + entries*stride
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return &Error{unix.ENOMEM, fmt.Sprintf(
			"%d addresses of %d stamps need %d MB of address space, more than this machine gives: lower ip_list_tot, ip_pkt_list_tot or --hitcount",
			limit, ring, size>>20)}
	}
	var key [16]byte
	rand.Read(key[:])
	*r = region{
		mem:    mem,
		index:  unsafe.Slice((*ref)(unsafe.Pointer(&mem[0])), places),
		slots:  unsafe.Pointer(&mem[slots]),
		stride: uintptr(stride),
		ring:   ring,
		key:    addr.Load(&key),
	}
	return nil
}

// release returns the memory and leaves a region in which nothing is found.
func (r *region) release() {
	if r.mem != nil {
		// It is a mapping of ours: there is nothing that could fail.
		_ = unix.Munmap(r.mem)
	}
	*r = region{ring: r.ring}
}

func (r *region) slot(n uint32) *slot {
	return (*slot)(unsafe.Add(r.slots, uintptr(n)*r.stride))
}

// stampAt is the i-th place of slot n's ring, i being less than ring.
func (r *region) stampAt(n, i uint32) *jiffies.Jiffies {
	return (*jiffies.Jiffies)(unsafe.Add(r.slots, uintptr(n)*r.stride+slotHead+uintptr(i)*8))
}

// stamps are the stamps of slot n in the order of the ring.
func (r *region) stamps(n uint32) []jiffies.Jiffies {
	return (*[1 << 16]jiffies.Jiffies)(unsafe.Pointer(r.stampAt(n, 0)))[:r.slot(n).nstamps]
}

// hash takes jhash's place in recent_entry_hash4 and recent_entry_hash6.
func (r *region) hash(a addr.Addr) uint32 {
	hi, lo := bits.Mul64(a.Lo^r.key.Lo, a.Hi^r.key.Hi)
	// With one half fixed, as in IPv4, the products of addresses in a row may be
	// in a row too, which linear probing does not bear: so they are scattered.
	x := hi ^ lo
	return uint32((x ^ x>>32) * 0x9e3779b97f4a7c15 >> 32)
}

// place is the i-th place of the index, behind whose last comes the first.
func (r *region) place(i uint32) *ref {
	return &r.index[uint(i)&uint(len(r.index)-1)]
}

// lookup finds the entry of an address, or 0: recent_entry_lookup. A ttl of 0,
// asked for or stored, equals any.
func (r *region) lookup(a addr.Addr, family, ttl uint8) uint32 {
	if len(r.index) == 0 {
		return 0
	}
	hash := r.hash(a)
	for i := hash; ; i++ {
		p := *r.place(i)
		if p.n == 0 {
			return 0
		}
		if p.hash == hash {
			s := r.slot(p.n)
			if s.addr == a && s.family == family && (ttl == s.ttl || ttl == 0 || s.ttl == 0) {
				return p.n
			}
		}
	}
}

// remove drops an entry: recent_entry_remove.
func (r *region) remove(n uint32) {
	s := r.slot(n)
	r.forget(r.hash(s.addr), n)
	r.unlink(s)
	s.family = 0
	s.newer, r.free = r.free, n
	r.entries--
}

// forget takes an entry out of the index. What stands behind it moves up, to
// no place before the one that its hash names, so that no lookup meets a gap.
func (r *region) forget(hash, n uint32) {
	gap := hash
	for r.place(gap).n != n {
		gap++
	}
	mask := uint32(len(r.index) - 1)
	for i := gap + 1; ; i++ {
		p := *r.place(i)
		if p.n == 0 {
			break
		}
		if (i-p.hash)&mask >= (i-gap)&mask {
			*r.place(gap) = p
			gap = i
		}
	}
	*r.place(gap) = ref{}
}

// reap drops the least recently seen entry if all its stamps are older than
// since: recent_entry_reap. It keeps the entry that the packet is about to
// update.
func (r *region) reap(since jiffies.Jiffies, working uint32, updates bool) {
	n := r.slot(0).newer
	if n == working && updates {
		return
	}
	if since.After(*r.stampAt(n, r.slot(n).latest(r.ring))) {
		r.remove(n)
	}
}

// manyEntries is from where on a table asks for huge pages: with small ones the
// processor waits for the page table before it can wait for memory. A smaller
// table would pay for pages that it does not fill.
const manyEntries = 1 << 14

// add makes an entry, in place of the least recently seen where the table is
// full: recent_entry_init.
func (t *Table) add(a addr.Addr, family, ttl uint8, now jiffies.Jiffies) {
	if t.entries >= t.limit {
		t.remove(t.slot(0).newer)
	}
	n := t.free
	if n != 0 {
		t.free = t.slot(n).newer
	} else {
		t.used++
		n = t.used
		if n == manyEntries {
			// An old kernel may not know it: then the pages stay small.
			_ = unix.Madvise(t.mem, unix.MADV_HUGEPAGE)
		}
	}
	*t.slot(n) = slot{addr: a, nstamps: 1, index: 1, family: family, ttl: ttl}
	*t.stampAt(n, 0) = now
	hash := t.hash(a)
	at := hash
	for t.place(at).n != 0 {
		at++
	}
	*t.place(at) = ref{hash, n}
	t.append(n)
	t.entries++
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

// wipe empties the table in place, and gives back the memory.
func (r *region) wipe() {
	// It is a mapping of ours: there is nothing that could fail.
	_ = unix.Madvise(r.mem, unix.MADV_DONTNEED)
	r.entries, r.used, r.free = 0, 0, 0
}

// flush empties the table: recent_table_flush. It returns the old memory, for
// release without the lock: that takes the longer, the larger the table was.
func (t *Table) flush() (old region) {
	if t.used == 0 {
		return old
	}
	var empty region
	if err := empty.reserve(t.limit, t.ring); err != nil {
		t.wipe()
		return old
	}
	old, t.region = t.region, empty
	return old
}
