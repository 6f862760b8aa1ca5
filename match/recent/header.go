package recent

import (
	"math/bits"
	"unsafe"

	"recentfs/match/addr"
)

// header is the start of a table's region. The package comment says what each
// byte means, and a test holds the offsets. It fills whole lines of the
// processor's cache, and what a packet changes is in the first.
//
// Table.mu guards all of it. The race detector does not see this memory.
type header struct {
	magic   [8]byte
	version uint32

	// The geometry.
	limit  uint32 // ip_list_tot
	ring   uint32 // stamps kept per address
	stride uint32 // bytes from one slot to the next
	places uint32 // of the index, a power of two

	entries  uint32
	used     uint32    // slots 1 to used have been in use at some time
	free     uint32    // first of the free list
	sequence uint64    // how often Table.mu was taken to change the table
	key      addr.Addr // secret of the hash, so that nobody can aim at one place

	identity
	_ [16]byte
}

// identity is what stays when a table moves to another region.
type identity struct {
	mask addr.Addr
	id   uint64
	attr Attr
	name [nameLen]byte // up to a NUL
}

const (
	magic   = "recentfs"
	version = 1

	cacheLine = 64 // of the processor
)

// newHeader lays out a region for limit addresses with ring stamps each.
func newHeader(limit, ring uint32) header {
	return header{
		magic: [8]byte([]byte(magic)), version: version,
		limit: limit, ring: ring,
		stride: uint32(slotHead) + ring*stampSize,
		places: 2 << bits.Len32(limit-1), // twice the limit, or more
	}
}

// slotsAt is the offset of slot 0.
func (h *header) slotsAt() uint64 {
	end := uint64(unsafe.Sizeof(*h)) + uint64(h.places)*uint64(unsafe.Sizeof(ref{}))
	return (end + cacheLine - 1) &^ (cacheLine - 1)
}

// size is the number of bytes of the region.
func (h *header) size() uint64 {
	return h.slotsAt() + (uint64(h.limit)+1)*uint64(h.stride)
}
