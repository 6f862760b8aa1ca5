package recent

import (
	"bytes"
	"hash/crc32"
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
	change change // what is under way
}

// identity is what stays when a table moves to another region.
type identity struct {
	mask     addr.Addr
	id       uint64
	attrs    [2]Attr // of the table's file: the one that is valid, and another
	valid    uint32
	name     [nameLen]byte // up to a NUL
	checksum uint32        // of the whole header, but for what may change: sum
}

// table is the table's name.
func (i *identity) table() string {
	name, _, _ := bytes.Cut(i.name[:], []byte{0})
	return string(name)
}

func (i *identity) attr() Attr { return i.attrs[i.valid&1] }

// setAttr makes all of them valid at once.
func (i *identity) setAttr(a Attr) {
	next := i.valid&1 ^ 1
	i.attrs[next] = a
	i.valid = next
}

const (
	magic   = "recentfs"
	version = 2
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
const slotsAt = uint64(unsafe.Sizeof(header{}))

// slotsEnd is the offset of the end of slot n.
func (h *header) slotsEnd(n uint32) uint64 { return slotsAt + (uint64(n)+1)*uint64(h.stride) }

// size is the number of bytes of the region.
func (h *header) size() uint64 { return h.slotsEnd(h.limit) }

// sum is the checksum of what never changes: the geometry, the key, and what the
// table is but for its attributes.
func (h *header) sum() uint32 {
	c := *h
	c.entries, c.used, c.free, c.sequence = 0, 0, 0, 0
	c.attrs, c.valid, c.checksum, c.change = [2]Attr{}, 0, 0, change{}
	return crc32.Checksum(unsafe.Slice((*byte)(unsafe.Pointer(&c)), unsafe.Sizeof(c)), castagnoli)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
