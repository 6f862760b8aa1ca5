package recent

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// Addition is what another table, or a list, knows of an address.
type Addition struct {
	Addr netip.Addr
	TTL  uint8
	// Stamps are when it was seen, the oldest first. Without stamps it is seen now,
	// unless the table has it already.
	Stamps []jiffies.Jiffies
}

// Merged counts additions by what became of them.
type Merged struct {
	New     int // were not there
	Changed int // were there, and got stamps
	Same    int // were there with all that is kept of these stamps
	Gone    int // addresses that made room, or found none
	Late    int // stamps that are later than now, and count as now
}

// Merger adds addresses with their stamps to a table. An address that is there gets
// those stamps that it lacks, and keeps as many of the newest as the table keeps. So
// the same addition a second time changes nothing. The addresses are in the order of
// their newest stamps afterwards. Where the table is full, the least recently seen
// goes. Each addition is journaled as a packet is: it is there wholly or not at all.
//
// It is fast where additions come in the order of their newest stamps: it looks for
// the place of one in the LRU list from that of the one before. It is not for more
// than one goroutine.
type Merger struct {
	Merged
	t    *Table
	at   uint32 // the slot after which the last one was, or any
	left int    // how much the step under way may still do
}

// mergeAtOnce is how many stamps, and entries of the LRU list, a Merger looks at
// until it lets packets go on. It takes about 30 us.
const mergeAtOnce = 1024

// Merger begins to merge additions into the table.
func (t *Table) Merger() *Merger { return &Merger{t: t} }

// Add merges additions. The error is EIO once the table is gone, or ENOSPC where a
// Memory has no more. Then some of the additions are there.
func (m *Merger) Add(all []Addition) error {
	for len(all) > 0 {
		err := m.t.mutate(func() error {
			m.left = mergeAtOnce
			for len(all) > 0 && m.left > 0 {
				done, err := m.add(&all[0])
				if err != nil {
					return err
				}
				if done {
					all = all[1:]
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// add merges one addition, unless its place in the LRU list is too far away for
// this step. t.mu is held, by lockToChange.
func (m *Merger) add(a *Addition) (done bool, err error) {
	r, now := &m.t.region, m.t.module.clock.Now()
	e := entry{family: unix.NFPROTO_IPV4, ttl: a.TTL}
	var b [16]byte
	if a.Addr.Is4() {
		copy(b[:], a.Addr.AsSlice())
	} else {
		b, e.family = a.Addr.As16(), unix.NFPROTO_IPV6
	}
	e.addr = addr.Load(&b)
	n := r.lookup(e.addr, e.family, 0)
	stamps := a.Stamps
	if len(stamps) == 0 {
		if n != 0 {
			m.Same++
			return true, nil
		}
		stamps = []jiffies.Jiffies{now}
	}
	count, added, late := r.stage(n, stamps, now)
	if added == 0 {
		m.left -= len(stamps)
		m.Same++
		return true, nil
	}
	e.nstamps, e.index = uint16(min(count, 1<<16-1)), uint16(count)
	newest := r.places(0)[count-1]
	if n != 0 && !newest.After(r.newest(n)) { // it stays where it is in the LRU list
		e.ttl = r.slot(n).ttl
		r.merge(n, e, n)
		m.Changed++
	} else if !m.seek(newest) {
		return false, nil
	} else if n != 0 {
		r.merge(n, e, m.at)
		m.Changed++
	} else if err := m.addNew(e, newest); err != nil {
		return false, err
	}
	m.Late += late
	m.left -= len(stamps) + int(count)
	return true, nil
}

// addNew adds an entry after m.at. Where the table is full, it must have been seen
// later than another one.
func (m *Merger) addNew(e entry, newest jiffies.Jiffies) error {
	r := &m.t.region
	oldest := r.slot(0).newer
	switch {
	case r.isShort():
		return syscall.ENOSPC
	case r.header.entries < r.header.limit:
	case !newest.After(r.newest(oldest)):
		m.Gone++
		return nil
	default:
		m.Gone++
		if m.at == oldest { // which makes room
			m.at = 0
		}
	}
	m.New++
	m.at = r.mergeNew(e, m.at)
	return nil
}

// seek finds the slot after which an entry with that newest stamp belongs in the LRU
// list, 0 for the least recently seen, and leaves it in m.at. It returns false if
// the step is at its end before.
func (m *Merger) seek(newest jiffies.Jiffies) (found bool) {
	r := &m.t.region
	if m.at > r.header.used || r.slot(m.at).family == 0 || r.newest(m.at).After(newest) {
		m.at = 0 // it is in the list no more, or was seen since
	}
	for next := r.slot(m.at).newer; next != 0 && !r.newest(next).After(newest); next = r.slot(next).newer {
		m.at = next
		if m.left--; m.left <= 0 {
			return false
		}
	}
	return true
}

// stage forms in the ring of slot 0, which has no stamps of its own, what entry n
// has after stamps are merged into it: the newest that fit, the oldest first. n is 0
// for an entry that is new. A stamp that is in both as often is there as often. It
// returns how many there are, how many of them the entry lacked, and how many were
// later than now.
func (r *region) stage(n uint32, stamps []jiffies.Jiffies, now jiffies.Jiffies) (count, added uint32, late int) {
	to, ring := r.places(0), r.places(n)
	var has, at uint32 // how many of its stamps are left, and where the newest of them is
	if n != 0 {
		has, at = r.slot(n).stampCount(r.ring), r.slot(n).newestIndex(r.ring)
	}
	for ; count < r.ring && (has > 0 || len(stamps) > 0); count++ {
		var stamp jiffies.Jiffies
		if len(stamps) > 0 {
			stamp = stamps[len(stamps)-1]
			if stamp.After(now) {
				stamp = now
			}
		}
		place := &to[r.ring-1-count]
		if has == 0 || len(stamps) > 0 && stamp.After(ring[at]) {
			*place = stamp
			added++
			if stamps[len(stamps)-1].After(now) {
				late++
			}
			stamps = stamps[:len(stamps)-1]
			continue
		}
		*place = ring[at]
		if len(stamps) > 0 && stamp == ring[at] {
			stamps = stamps[:len(stamps)-1]
		}
		has--
		at = (at + r.ring - 1) % r.ring
	}
	copy(to, to[r.ring-count:])
	return count, added, late
}

// merge gives entry n the stamps that are staged, and its place in the LRU list,
// after another one.
func (r *region) merge(n uint32, e entry, after uint32) {
	if r.kept {
		r.header.change.begin(n, r.ring, 0, e, 0)
	}
	r.unstage(n, e)
	if after != n {
		r.unlink(r.slot(n))
		r.link(n, after)
	}
	if r.kept {
		r.header.change.end()
	}
}

// mergeNew makes an entry of the stamps that are staged: add for more than one of
// them. There is memory for it. after is not the least recently seen, where that is
// to make room. It returns the entry's slot.
func (r *region) mergeNew(e entry, after uint32) (n uint32) {
	n = r.slotToAdd()
	if r.kept {
		r.header.change.begin(n, r.ring, 0, e, 0)
	}
	r.claim(n)
	r.unstage(n, e)
	r.insert(r.hash(e.addr), n)
	r.link(n, after)
	r.header.entries++
	if r.kept {
		r.header.change.end()
	}
	return n
}

// unstage makes e of slot n, with the stamps that are staged.
func (r *region) unstage(n uint32, e entry) {
	copy(r.places(n), r.places(0)[:min(e.stampCount(r.ring), r.ring)])
	r.slot(n).entry = e
}

// link puts an entry into the LRU list after another one, or as the least recently
// seen where after is 0.
func (r *region) link(n, after uint32) {
	before, s := r.slot(after), r.slot(n)
	s.older, s.newer = after, before.newer
	r.slot(s.newer).older = n
	before.newer = n
}

// relinkOne puts entry n where its newest stamp belongs in the LRU list.
func (r *region) relinkOne(n uint32) {
	r.unlink(r.slot(n))
	after := r.slot(0).older
	for after != 0 && r.newest(after).After(r.newest(n)) {
		after = r.slot(after).older
	}
	r.link(n, after)
}
