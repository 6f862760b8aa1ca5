package recent

import (
	"sync"

	"recentfs/match/addr"
)

// Attr are the attributes of a table's file: those of its proc_dir_entry.
type Attr struct {
	Perms    uint32 // permission bits, as chmod sets them: up to 07777
	UID, GID uint32
}

// Table is one table of recently seen addresses: the kernel's struct
// recent_table with its proc_dir_entry. Everything that outlives a process is
// in its region. name, id and mask are there too. They never change, so that the
// copies here are read without the lock; that of mask saves a packet 0.7 ns.
type Table struct {
	name   string
	id     uint64
	mask   addr.Addr
	module *Module
	where  Memory // of its regions
	refs   uint32 // guarded by Registry.mu

	// copying is held by cursors while they copy out of the region without mu.
	// release waits for them before it unmaps a region. It comes before mu.
	copying sync.RWMutex

	mu     sync.Mutex
	dead   bool    // guarded by mu: the last rule is gone
	region         // guarded by mu
	layout *layout // guarded by mu: how the slots are numbered
}

// noID is the number that stands for no user or group: INVALID_UID and
// INVALID_GID.
const noID = 1<<32 - 1

// newTable makes an empty table for its first rule, with the parameters p and room
// for ring stamps an address.
func newTable(r *Registry, p Params, id uint64, info *Info, ring uint32) (*Table, error) {
	if p.Compat == Modern && (p.UID == noID || p.GID == noID) {
		return nil, invalid("ip_list_uid=%d, ip_list_gid=%d: %d is no user or group", p.UID, p.GID, uint32(noID))
	}
	empty, err := r.module.budget.newRegion(r.memory, p.ListTot, ring, 0)
	if err != nil {
		return nil, err
	}
	attr := Attr{Perms: p.Perms, UID: p.UID, GID: p.GID}
	if p.Perms == 0 {
		attr.Perms = 0o444
	}
	who := identity{mask: addr.Load(&info.Mask), id: id, attrs: [2]Attr{attr}}
	copy(who.name[:], info.Name)
	empty.header.identity = who
	empty.header.checksum = empty.header.sum()
	return r.tableIn(empty), nil
}

// tableIn is the table whose region this is.
func (r *Registry) tableIn(its region) *Table {
	return &Table{
		name: its.header.table(), id: its.header.id, mask: its.header.mask,
		module: r.module, where: r.memory, layout: new(layout), region: its,
	}
}

// lockToChange takes the lock to change the table.
func (t *Table) lockToChange() {
	t.mu.Lock()
	t.header.sequence++
}

// mutate runs do under the table's lock, unless the table is gone.
func (t *Table) mutate(do func() error) error {
	t.lockToChange()
	defer t.mu.Unlock()
	if t.dead {
		return errGone
	}
	return do()
}

// size is the number of addresses and of stamps of each that the table has room
// for.
func (t *Table) size() (limit, ring uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header.limit, t.header.ring
}

// footprint is what the table counts in the budget.
func (t *Table) footprint() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header.footprint()
}

// replace puts another region in place of the table's, which it returns, and counts
// it as that many changes. mu is held, by lockToChange.
func (t *Table) replace(by region, changes uint32) (old region) {
	by.header.identity, by.header.sequence = t.header.identity, t.header.sequence
	count := t.header.change.begun + changes
	by.header.change = change{begun: count, done: count}
	by.header.checksum = by.header.sum()
	by.memory.Place(t.name)
	old, t.region = t.region, by
	return old
}

// empty moves the table to an empty region, and returns how many entries it lost.
func (t *Table) empty(to region) (lost uint32) {
	t.lockToChange()
	lost = t.header.entries
	old := t.replace(to, 0)
	t.mu.Unlock()
	t.release(old)
	return lost
}

// flush empties the table: recent_table_flush. The caller must release the old
// region that it returns, after it gave up the lock: for a large table that takes
// long. mu is held, by lockToChange.
func (t *Table) flush() (old region) {
	if t.header.used == 0 {
		return region{}
	}
	empty, err := newRegion(t.where, t.header.limit, t.header.ring)
	if err != nil {
		t.wipe()
		return region{}
	}
	empty.budget = t.region.budget // the old one, which goes at once, counts no more
	old = t.replace(empty, 1)
	old.budget = nil
	return old
}

// destroy marks the table as gone and returns its region. Registry.mu is held.
func (t *Table) destroy() (old region) {
	t.lockToChange()
	defer t.mu.Unlock()
	t.dead = true
	old, t.region = t.region, t.without()
	return old
}

// release unmaps a region that was the table's, as soon as no cursor copies out
// of it. A cursor that begins now copies out of the new region.
func (t *Table) release(old region) {
	if old.memory == nil {
		return
	}
	t.copying.Lock()
	t.copying.Unlock() //lint:ignore SA2001 it is a wait, and unmapping takes long
	old.release()
}

// Name is the table's name, 1 to 199 bytes.
func (t *Table) Name() string { return t.name }

// ID tells the tables of a registry apart, also those that had the same name at
// different times. It is 1 or more.
func (t *Table) ID() uint64 { return t.id }

// Gone tells whether the table's last rule is gone, and the table with it.
func (t *Table) Gone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dead
}

// Attr is what stat(2) shows of the table's file.
func (t *Table) Attr() Attr {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header.attr()
}

// Chattr changes the attributes of the table's file in place: proc_setattr of
// fs/proc/generic.c. It fails with EIO once the table is gone.
func (t *Table) Chattr(change func(*Attr)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead {
		return errGone
	}
	attr := t.header.attr()
	change(&attr)
	t.header.setAttr(attr)
	return nil
}
