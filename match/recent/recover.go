package recent

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// find is the table that processes before have left for a rule, or nil. What makes
// no sense is set aside.
func (r *Registry) find(info *Info) *Table {
	for _, left := range r.memory.Find(info.Name) {
		m, err := left.Open()
		if err != nil {
			continue
		}
		its, err := recovered(m, r.Clock().Now(), left.Now)
		if err == nil {
			if err = its.suits(info); err == nil {
				return r.tableIn(its)
			}
			its.indexed.Release()
		}
		m.SetAside(err)
		m.Release()
	}
	return nil
}

// suits tells whether a region is of the table that a rule is for.
func (r *region) suits(info *Info) error {
	switch h := r.header; {
	case h.table() != info.Name:
		return invalid("it is of table %q", h.table())
	case h.mask != addr.Load(&info.Mask):
		return invalid("its addresses are under another --mask than the rule's")
	}
	return nil
}

// recovered is the region that another process has left in memory, made whole
// again. Its operations are either not there or wholly there. The error says why
// it cannot be trusted. stampNow is Left.Now.
func recovered(m Mapping, now jiffies.Jiffies, stampNow func(jiffies.Jiffies) jiffies.Jiffies) (region, error) {
	if _, err := m.Reserve(min(slotsAt, uint64(len(m.Bytes())))); err != nil {
		return region{}, err
	}
	switch size, _, err := ImageSizes(m.Bytes()); {
	case err != nil:
		return region{}, err
	case size != uint64(len(m.Bytes())):
		return region{}, invalid("it has %d bytes, not %d", len(m.Bytes()), size)
	}
	r, err := regionIn(m)
	if err != nil {
		return region{}, err
	}
	if err := r.recover(now, stampNow); err != nil {
		r.indexed.Release()
		return region{}, err
	}
	return r, nil
}

// recover finishes what is half done, checks everything, and makes anew what can
// be.
func (r *region) recover(now jiffies.Jiffies, stampNow func(jiffies.Jiffies) jiffies.Jiffies) error {
	changed, merged, err := r.redo()
	if err != nil {
		return err
	}
	isImage := stampNow != nil
	if err := r.reindex(isImage); err != nil {
		return err
	}
	if isImage {
		r.restamp(stampNow)
	}
	switch {
	case !r.linked():
		r.relink(now)
	case changed == 0 || r.slot(changed).family == 0: // in an image another slot may have had its address
	case merged:
		r.relinkOne(changed)
	default:
		r.unlink(r.slot(changed))
		r.append(changed)
	}
	for i := range r.header.attrs { // a bit of another kind would make the kernel refuse the file
		r.header.attrs[i].Perms &= 0o7777
	}
	return r.reserve(max(r.header.used, 1))
}

// verify checks what never changes.
func (h *header) verify() error {
	switch {
	case string(h.magic[:]) != magic:
		return invalid("it begins with %q", h.magic[:])
	case h.version != version:
		return invalid("its version is %d: this program knows version %d", h.version, version)
	case h.checksum != h.sum():
		return invalid("the checksum of its header is wrong")
	case h.limit == 0 || h.limit > MaxListTot || h.ring == 0 || h.ring > maxStampsModern:
		return invalid("it is for %d addresses with %d stamps", h.limit, h.ring)
	}
	if g := newHeader(h.limit, h.ring); h.stride != g.stride || h.places != g.places {
		return invalid("it has %d bytes a slot, and %d places", h.stride, h.places)
	}
	return nil
}

// reindex checks each slot, and makes the index and the free list anew. An image
// may have an address twice, if it moved to another slot while it was made. Then the
// one that was seen last stays.
func (r *region) reindex(isImage bool) error {
	h := r.header
	h.entries, h.free = 0, 0
	for n := uint32(1); n <= h.used; n++ {
		s := r.slot(n)
		switch {
		case s.family == 0:
			s.newer, h.free = h.free, n
			continue
		case !s.sound(h.ring):
			return invalid("slot %d makes no sense", n)
		}
		twin := r.lookup(s.addr, s.family, 0)
		switch {
		case twin != 0 && !isImage:
			return invalid("slots %d and %d have the same address", twin, n)
		case twin != 0 && !r.newest(n).After(r.newest(twin)):
			s.family, s.newer, h.free = 0, h.free, n
			continue
		case twin != 0:
			r.forget(r.hash(s.addr), twin)
			r.slot(twin).family, r.slot(twin).newer, h.free = 0, h.free, twin
			h.entries--
		}
		r.insert(r.hash(s.addr), n)
		h.entries++
	}
	return nil
}

// restamp makes all stamps those of this machine's clock.
func (r *region) restamp(stampNow func(jiffies.Jiffies) jiffies.Jiffies) {
	for n := uint32(1); n <= r.header.used; n++ {
		if s := r.slot(n); s.family != 0 {
			for i := range s.stampCount(r.ring) {
				*r.stampAt(n, i) = stampNow(*r.stampAt(n, i))
			}
		}
	}
}

// sound tells whether an entry is one that add and update could have made.
func (e *entry) sound(ring uint32) bool {
	full := min(ring, 1<<16-1)
	switch {
	case e.family == unix.NFPROTO_IPV4 && e.addr != e.addr.And(addr.Prefix(32)),
		e.family != unix.NFPROTO_IPV4 && e.family != unix.NFPROTO_IPV6:
		return false
	case uint32(e.nstamps) == full:
		return uint32(e.index) <= ring && (e.index != 0 || ring == 1<<16)
	}
	return e.nstamps > 0 && uint32(e.nstamps) < full && e.index == e.nstamps
}

// linked tells whether the LRU list is one ring of all entries.
func (r *region) linked() bool {
	n, last := r.slot(0).newer, uint32(0)
	for range r.header.entries {
		if n == 0 || n > r.header.used || r.slot(n).family == 0 || r.slot(n).older != last {
			return false
		}
		last, n = n, r.slot(n).newer
	}
	return n == 0 && r.slot(0).older == last
}

// relink makes the LRU list anew, by the newest stamps.
func (r *region) relink(now jiffies.Jiffies) {
	var all []uint32
	for n := uint32(1); n <= r.header.used; n++ {
		if r.slot(n).family != 0 {
			all = append(all, n)
		}
	}
	slices.SortStableFunc(all, func(a, b uint32) int {
		return cmp.Compare(r.newest(a).Sub(now), r.newest(b).Sub(now))
	})
	r.slot(0).older, r.slot(0).newer = 0, 0
	for _, n := range all {
		r.append(n)
	}
}
