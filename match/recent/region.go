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
//	buckets  [buckets]uint32   first slot of each hash chain
//	slots    [limit+1]slot     each followed by ring stamps
//
// Slots go by number. Slot 0 is the head of the LRU list, a ring through all
// entries: its older is the most recently seen, its newer the least. 0 ends a
// hash chain and the free list. Memory that no entry ever used is untouched
// and costs nothing. Every field is guarded by Table.mu.
type region struct {
	mem     []byte
	slots   uintptr // offset of slot 0
	stride  uintptr // bytes from one slot to the next
	buckets []uint32
	ring    uint32 // stamps kept per address
	entries uint32
	used    uint32 // slots 1 to used have been handed out at some time
	free    uint32 // first of the free list
	key     addr   // secret of the hash, so that nobody can aim at one chain
}

// slot is one entry: the kernel's struct recent_entry.
type slot struct {
	addr
	next    uint32 // in the hash chain, or in the free list
	older   uint32 // towards the least recently seen
	newer   uint32 // towards the most recently seen
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
	buckets := uint64(1) << bits.Len32(limit) // recent_mt_init: 1 << fls(ip_list_tot)
	slots := (buckets*4 + 63) &^ 63
	stride := uint64(slotHead) + uint64(ring)*8
	size := slots + (uint64(limit)+1)*stride
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
		slots:   uintptr(slots),
		stride:  uintptr(stride),
		buckets: unsafe.Slice((*uint32)(unsafe.Pointer(&mem[0])), buckets),
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

// bucket is the head of the chain on which a belongs: recent_entry_hash4 and
// recent_entry_hash6 with another keyed hash in jhash's place.
func (r *region) bucket(a addr) *uint32 {
	hi, lo := bits.Mul64(a.lo^r.key.lo, a.hi^r.key.hi)
	return &r.buckets[(hi^lo)&uint64(len(r.buckets)-1)]
}

// lookup finds the slot of an address, or 0: recent_entry_lookup. A ttl of 0,
// asked for or stored, equals any.
func (r *region) lookup(a addr, family, ttl uint8) uint32 {
	if len(r.buckets) == 0 {
		return 0
	}
	for n := *r.bucket(a); n != 0; {
		s := r.slot(n)
		if s.addr == a && s.family == family && (ttl == s.ttl || ttl == 0 || s.ttl == 0) {
			return n
		}
		n = s.next
	}
	return 0
}

// remove drops an entry: recent_entry_remove.
func (r *region) remove(n uint32) {
	s := r.slot(n)
	at := r.bucket(s.addr)
	for *at != n {
		at = &r.slot(*at).next
	}
	*at = s.next
	r.unlink(s)
	s.family = 0
	s.next, r.free = r.free, n
	r.entries--
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

// add makes an entry, in place of the least recently seen where the table is
// full: recent_entry_init.
func (t *Table) add(a addr, family, ttl uint8, now jiffies.Jiffies) {
	if t.entries >= t.limit {
		t.remove(t.slot(0).newer)
	}
	n := t.free
	if n != 0 {
		t.free = t.slot(n).next
	} else {
		t.used++
		n = t.used
	}
	at := t.bucket(a)
	*t.slot(n) = slot{addr: a, next: *at, nstamps: 1, index: 1, family: family, ttl: ttl}
	*t.stampAt(n, 0) = now
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
	if s.newer != 0 {
		r.unlink(s)
		r.append(n)
	}
}

// unlink takes a slot out of the LRU list.
func (r *region) unlink(s *slot) {
	r.slot(s.older).newer = s.newer
	r.slot(s.newer).older = s.older
}

// append puts a slot at the recent end of the LRU list.
func (r *region) append(n uint32) {
	head := r.slot(0)
	s := r.slot(n)
	s.older, s.newer = head.older, 0
	r.slot(s.older).newer = n
	head.older = n
}

// flush empties the table: recent_table_flush. Its memory goes back to the
// machine, so that a flush costs the same for a table of any size.
func (t *Table) flush() {
	if t.used == 0 {
		return
	}
	var empty region
	if err := empty.reserve(t.limit, t.ring); err != nil {
		clear(t.buckets)
		head := t.slot(0)
		head.older, head.newer = 0, 0
		for n := uint32(1); n <= t.used; n++ {
			t.slot(n).family = 0
		}
		t.entries, t.used, t.free = 0, 0, 0
		return
	}
	t.region.release()
	t.region = empty
}
