package recent

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// budget bounds the memory of all tables of a Module. A region counts with all that it
// can grow to, from when it is made until it is released. So a table that moves counts
// twice meanwhile. But a table may always become smaller: then all fit in the end. What
// a process before has left counts if its table stays there.
type budget struct {
	most uint64 // 0: there is no bound

	mu   sync.Mutex
	used uint64 // guarded by mu: by all regions
}

// footprint is how many bytes a region may come to need, with its index.
func (h *header) footprint() uint64 {
	return h.size() + uint64(h.places)*uint64(unsafe.Sizeof(ref{}))
}

// take counts a region, if there is room for it or it replaces a larger one.
func (b *budget) take(h *header, replaces uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := h.footprint()
	if b.most != 0 && size >= replaces && b.used+size > b.most {
		return &Error{unix.ENOMEM, fmt.Sprintf(
			"%d addresses of %d stamps may take %d KB, and %d KB of the %d KB of --max-memory are taken: lower ip_list_tot or ip_pkt_list_tot, or raise --max-memory",
			h.limit, h.ring, kilobytes(size), kilobytes(b.used), b.most>>10)}
	}
	b.used += size
	return nil
}

// kilobytes rounds up.
func kilobytes(size uint64) uint64 { return (size + 1023) >> 10 }

// give takes back what take counted of a region.
func (b *budget) give(h *header) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= h.footprint()
}

// adopt counts a region that a process before has left, if there is room for it.
func (b *budget) adopt(r *region) error {
	if err := b.take(r.header, 0); err != nil {
		return err
	}
	r.budget = b
	return nil
}

// newRegion makes an empty region that counts: see take.
func (b *budget) newRegion(where Memory, limit, ring uint32, replaces uint64) (region, error) {
	h := newHeader(limit, ring)
	if err := b.take(&h, replaces); err != nil {
		return region{}, err
	}
	r, err := newRegion(where, limit, ring)
	if err != nil {
		b.give(&h)
		return region{}, err
	}
	r.budget = b
	return r, nil
}

// Memory is how many bytes the tables may come to need, and the bound of that, which
// is 0 if there is none.
func (m *Module) Memory() (used, most uint64) {
	m.budget.mu.Lock()
	defer m.budget.mu.Unlock()
	return m.budget.used, m.budget.most
}
