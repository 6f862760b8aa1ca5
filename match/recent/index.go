package recent

import (
	"math/bits"

	"recentfs/match/addr"
)

// ref is a place of the index.
type ref struct {
	hash uint32 // of the entry's address
	n    uint32 // the entry, 0: none
}

// hash takes jhash's place in recent_entry_hash4 and recent_entry_hash6.
func (r *region) hash(a addr.Addr) uint32 {
	hi, lo := bits.Mul64(a.Lo^r.key.Lo, a.Hi^r.key.Hi)
	// With one half fixed, as in IPv4, addresses in a row may have products in a
	// row, which make linear probing slow. So the product is scattered.
	x := hi ^ lo
	return uint32((x ^ x>>32) * 0x9e3779b97f4a7c15 >> 32)
}

// place is the i-th place of the index. After the last comes the first.
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

// insert puts a new entry into the index.
func (r *region) insert(hash, n uint32) {
	at := hash
	for r.place(at).n != 0 {
		at++
	}
	*r.place(at) = ref{hash, n}
}

// forget takes an entry out of the index. The places after it move up, but none
// of them before the one that its hash names, so that no lookup meets a gap.
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
