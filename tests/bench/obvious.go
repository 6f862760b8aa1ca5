package main

import (
	"container/list"
	"net/netip"
	"sync"
)

// obviousTable is the table that one writes first in Go: a peer.
type obviousTable struct {
	mu      sync.Mutex
	limit   int
	ring    int
	entries map[netip.Addr]*obviousEntry
	lru     *list.List // of *obviousEntry, the most recently seen last
}

type obviousEntry struct {
	addr   netip.Addr
	stamps []uint64
	next   int // where in stamps the next one goes
	lru    *list.Element
}

func newObviousTable(limit, ring int) *obviousTable {
	return &obviousTable{limit: limit, ring: ring, entries: make(map[netip.Addr]*obviousEntry), lru: list.New()}
}

// set notes that an address was seen.
func (t *obviousTable) set(addr netip.Addr, now uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[addr]; e != nil {
		t.stamp(e, now)
		return true
	}
	if len(t.entries) >= t.limit {
		oldest := t.lru.Remove(t.lru.Front()).(*obviousEntry)
		delete(t.entries, oldest.addr)
	}
	e := &obviousEntry{addr: addr, stamps: make([]uint64, 0, t.ring)}
	e.lru = t.lru.PushBack(e)
	t.entries[addr] = e
	t.stamp(e, now)
	return true
}

// update notes that an address was seen if it was, so many times within the
// window before now.
func (t *obviousTable) update(addr netip.Addr, now, window uint64, hits int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[addr]
	if e == nil {
		return false
	}
	for _, s := range e.stamps {
		if s+window < now {
			continue
		}
		if hits--; hits == 0 {
			t.stamp(e, now)
			return true
		}
	}
	return false
}

// stamp adds a stamp to an entry. t.mu is held.
func (t *obviousTable) stamp(e *obviousEntry, now uint64) {
	if len(e.stamps) < t.ring {
		e.stamps = append(e.stamps, now)
	} else {
		e.stamps[e.next] = now
		e.next = (e.next + 1) % t.ring
	}
	t.lru.MoveToBack(e.lru)
}
