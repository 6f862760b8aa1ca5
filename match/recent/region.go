package recent

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// region is a table's memory: one mapping that holds no pointer, so that the
// garbage collector never walks it and it may one day be a mapping of a file.
//
//	buckets  []uint32          the first entry of each hash chain
//	links    [limit+1]link     each entry's place in its chain and the LRU list
//	slots    [limit+1]slot     each entry, followed by its ring of stamps
//
// Entries go by number. Number 0 is the head of the LRU list, a ring through
// all entries: its older is the most recently seen, its newer the least. 0 also
// ends a hash chain and the free list. Links stand apart from slots because
// moving an entry in the LRU list touches two others: in a large table links
// stay in the processor's caches where slots do not.
//
// Memory that no entry ever used is untouched and costs nothing. Every field
// is guarded by Table.mu.
type region struct {
	mem     []byte
	buckets []uint32
	links   []link
	slots   uintptr // offset of slot 0 in mem
	stride  uintptr // bytes from one slot to the next
	ring    uint32  // stamps kept per address
	entries uint32
	used    uint32 // entries 1 to used have been in use at some time
	free    uint32 // first of the free list
	key     addr   // secret of the hash, so that nobody can aim at one chain
}

// link is an entry's place among the others: the two list_heads of the
// kernel's struct recent_entry.
type link struct {
	next  uint32 // in the hash chain, or in the free list
	hash  uint32 // of the address, so that a chain is walked without the slots
	older uint32 // towards the least recently seen
	newer uint32 // towards the most recently seen
}

// slot is the rest of the kernel's struct recent_entry.
type slot struct {
	addr
	nstamps uint16
	index   uint16 // where in the ring the next stamp goes
	family  uint8  // 0: the slot is free
	ttl     uint8
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

// addr is an address as two machine words; IPv4 takes the first four bytes.
type addr struct{ lo, hi uint64 }

func loadAddr(b *[16]byte) addr {
	return addr{binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])}
}

func (a addr) bytes() (b [16]byte) {
	binary.NativeEndian.PutUint64(b[:8], a.lo)
	binary.NativeEndian.PutUint64(b[8:], a.hi)
	return b
}

func (a addr) and(m addr) addr { return addr{a.lo & m.lo, a.hi & m.hi} }

// reserve gives an empty region room for limit addresses with ring stamps.
func (r *region) reserve(limit, ring uint32) error {
	const line = 64 // of the processor's cache
	align := func(n uint64) uint64 { return (n + line - 1) &^ (line - 1) }
	buckets := uint64(1) << bits.Len32(limit) // recent_mt_init: 1 << fls(ip_list_tot)
	entries := uint64(limit) + 1
	links := align(buckets * 4)
	slots := align(links + entries*uint64(unsafe.Sizeof(link{})))
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
		mem:     mem,
		buckets: unsafe.Slice((*uint32)(unsafe.Pointer(&mem[0])), buckets),
		links:   unsafe.Slice((*link)(unsafe.Pointer(&mem[links])), entries),
		slots:   uintptr(slots),
		stride:  uintptr(stride),
		ring:    ring,
		key:     loadAddr(&key),
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
	return (*slot)(unsafe.Pointer(&r.mem[r.slots+uintptr(n)*r.stride]))
}

// stampAt is the i-th place of slot n's ring, i being less than ring.
func (r *region) stampAt(n, i uint32) *jiffies.Jiffies {
	return (*jiffies.Jiffies)(unsafe.Pointer(&r.mem[r.slots+uintptr(n)*r.stride+slotHead+uintptr(i)*8]))
}

// stamps are the stamps of slot n in the order of the ring.
func (r *region) stamps(n uint32) []jiffies.Jiffies {
	return unsafe.Slice(r.stampAt(n, 0), r.slot(n).nstamps)
}

// hash takes jhash's place in recent_entry_hash4 and recent_entry_hash6.
func (r *region) hash(a addr) uint32 {
	hi, lo := bits.Mul64(a.lo^r.key.lo, a.hi^r.key.hi)
	return uint32((hi^lo)>>32) ^ uint32(hi^lo)
}

func (r *region) bucket(hash uint32) *uint32 {
	return &r.buckets[uint(hash)&uint(len(r.buckets)-1)]
}

// lookup finds the entry of an address, or 0: recent_entry_lookup. A ttl of 0,
// asked for or stored, equals any.
func (r *region) lookup(a addr, family, ttl uint8) uint32 {
	if len(r.buckets) == 0 {
		return 0
	}
	hash := r.hash(a)
	for n := *r.bucket(hash); n != 0; {
		l := &r.links[n]
		if l.hash == hash {
			s := r.slot(n)
			if s.addr == a && s.family == family && (ttl == s.ttl || ttl == 0 || s.ttl == 0) {
				return n
			}
		}
		n = l.next
	}
	return 0
}

// remove drops an entry: recent_entry_remove.
func (r *region) remove(n uint32) {
	l := &r.links[n]
	at := r.bucket(l.hash)
	for *at != n {
		at = &r.links[*at].next
	}
	*at = l.next
	r.unlink(l)
	r.slot(n).family = 0
	l.next, r.free = r.free, n
	r.entries--
}

// reap drops the least recently seen entry if all its stamps are older than
// since: recent_entry_reap. It keeps the entry that the packet is about to
// update.
func (r *region) reap(since jiffies.Jiffies, working uint32, updates bool) {
	n := r.links[0].newer
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
func (t *Table) add(a addr, family, ttl uint8, now jiffies.Jiffies) {
	if t.entries >= t.limit {
		t.remove(t.links[0].newer)
	}
	n := t.free
	if n != 0 {
		t.free = t.links[n].next
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
	at := t.bucket(hash)
	t.links[n] = link{next: *at, hash: hash}
	*at = n
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
	if l := &r.links[n]; l.newer != 0 {
		r.unlink(l)
		r.append(n)
	}
}

// unlink takes an entry out of the LRU list.
func (r *region) unlink(l *link) {
	r.links[l.older].newer = l.newer
	r.links[l.newer].older = l.older
}

// append puts an entry at the recent end of the LRU list.
func (r *region) append(n uint32) {
	head, l := &r.links[0], &r.links[n]
	l.older, l.newer = head.older, 0
	r.links[l.older].newer = n
	head.older = n
}

// flush empties the table: recent_table_flush. It returns the old memory, for
// release without the lock: that takes the longer, the larger the table was.
func (t *Table) flush() (old region) {
	if t.used == 0 {
		return old
	}
	var empty region
	if err := empty.reserve(t.limit, t.ring); err != nil {
		clear(t.buckets)
		t.links[0] = link{}
		for n := uint32(1); n <= t.used; n++ {
			t.slot(n).family = 0
		}
		t.entries, t.used, t.free = 0, 0, 0
		return old
	}
	old, t.region = t.region, empty
	return old
}
