package recent

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// Registry holds the tables of one network namespace: the kernel's struct
// recent_net. A table lives as long as a rule refers to it.
type Registry struct {
	module *Module
	watch  func(Event) // may be nil

	mu     sync.Mutex
	tables map[string]*Table // guarded by mu
	lastID uint64            // guarded by mu
}

// Clock is the clock that stamps come from.
func (r *Registry) Clock() jiffies.Clock { return r.module.clock }

// tell sends an event. No lock is held.
func (r *Registry) tell(e Event) {
	if r.watch != nil {
		r.watch(e)
	}
}

// Check makes a rule, and its table where there is none of its name yet:
// recent_mt_check. In Modern a rule that counts more hits than the table keeps
// stamps flushes and widens the table. An error changes nothing.
func (r *Registry) Check(info Info) (*Rule, error) {
	rules, err := r.CheckAll([]Info{info})
	if err != nil {
		return nil, err
	}
	return rules[0], nil
}

// CheckAll makes several rules, or none: an error, a *CheckError, changes
// nothing, since memory for all tables is reserved before any is touched.
func (r *Registry) CheckAll(infos []Info) ([]*Rule, error) {
	for i := range infos {
		if err := r.module.params.CheckRule(&infos[i]); err != nil {
			return nil, &CheckError{i, infos[i].Name, err}
		}
	}
	r.mu.Lock()
	p, err := r.plan(infos)
	if err != nil {
		r.mu.Unlock()
		return nil, err
	}
	rules := p.carryOut(infos)
	r.mu.Unlock()
	for _, t := range p.made {
		r.tell(Event{Table: t})
	}
	return rules, nil
}

// CheckError says which rule could not be made.
type CheckError struct {
	Rule  int // its index
	Table string
	Err   error
}

func (e *CheckError) Error() string { return fmt.Sprintf("table %q: %v", e.Table, e.Err) }

// Unwrap is the reason.
func (e *CheckError) Unwrap() error { return e.Err }

// plan is what rules need, reserved and not yet in place.
type plan struct {
	reg    *Registry
	tables map[string]*Table // new ones
	made   []*Table          // the same, in order
	wider  map[*Table]region // for tables that are there
}

// plan reserves what the rules need. r.mu is held.
func (r *Registry) plan(infos []Info) (*plan, error) {
	p := &plan{reg: r, tables: make(map[string]*Table), wider: make(map[*Table]region)}
	rings := make(map[string]uint32)
	for i := range infos {
		rings[infos[i].Name] = max(rings[infos[i].Name], r.module.params.ring(infos[i].HitCount))
	}
	for i := range infos {
		if err := p.reserve(&infos[i], rings[infos[i].Name]); err != nil {
			p.cancel()
			return nil, &CheckError{i, infos[i].Name, err}
		}
	}
	return p, nil
}

// reserve makes sure that there is a table for a rule with room for ring
// stamps an address.
func (p *plan) reserve(info *Info, ring uint32) error {
	if p.tables[info.Name] != nil {
		return nil
	}
	t := p.reg.tables[info.Name]
	if t == nil {
		t, err := newTable(p.reg.module, info, ring)
		if err == nil {
			p.tables[info.Name] = t
			p.made = append(p.made, t)
		}
		return err
	}
	if _, done := p.wider[t]; done || ring <= t.ringSize() {
		return nil
	}
	var wide region
	err := wide.reserve(t.limit, ring)
	if err == nil {
		p.wider[t] = wide
	}
	return err
}

// cancel gives back what was reserved.
func (p *plan) cancel() {
	for _, t := range p.made {
		t.region.release()
	}
	for _, wide := range p.wider {
		wide.release()
	}
}

// carryOut puts the tables in place and makes the rules. Registry.mu is held.
func (p *plan) carryOut(infos []Info) []*Rule {
	r := p.reg
	for _, t := range p.made {
		r.lastID++
		t.id = r.lastID
		r.tables[t.name] = t
	}
	for t, wide := range p.wider {
		t.widen(wide)
	}
	rules := make([]*Rule, len(infos))
	for i, info := range infos {
		t := r.tables[info.Name]
		t.refs++
		rules[i] = &Rule{info: info, table: t, window: jiffies.Jiffies(info.Seconds * r.module.clock.HZ())}
	}
	return rules
}

// Destroy gives up a rule, and its table with the table's last rule:
// recent_mt_destroy. Each rule is destroyed once.
func (r *Registry) Destroy(rule *Rule) {
	t := rule.table
	r.mu.Lock()
	t.refs--
	if t.refs > 0 {
		r.mu.Unlock()
		return
	}
	delete(r.tables, t.name)
	old := t.destroy() // with r.mu: who finds another table of the name finds this one gone
	r.mu.Unlock()
	t.release(old)
	r.tell(Event{Table: t, Gone: true})
}

// Table is the table of that name, or nil: recent_table_lookup.
func (r *Registry) Table(name string) *Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tables[name]
}

// Tables are all tables, in the order in which procfs lists them: shorter
// names first, then by bytes (proc_match of fs/proc/generic.c).
func (r *Registry) Tables() []*Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Table, 0, len(r.tables))
	for _, t := range r.tables {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *Table) int {
		return cmp.Or(cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	return all
}

// Attr are the attributes of a table's file: its proc_dir_entry's.
type Attr struct {
	Perms    uint32 // permission bits, as chmod sets them: up to 07777
	UID, GID uint32
}

// Table is one table of recently seen addresses: the kernel's struct
// recent_table with its proc_dir_entry.
type Table struct {
	name   string
	id     uint64
	module *Module
	mask   addr.Addr
	limit  uint32 // ip_list_tot
	refs   uint32 // guarded by Registry.mu

	// copying is held by cursors while they copy out of the region without mu.
	// Who unmaps what was the region waits for them. It comes before mu.
	copying sync.RWMutex

	mu      sync.Mutex
	attr    Attr   // guarded by mu
	dead    bool   // guarded by mu: the last rule is gone
	changes uint64 // guarded by mu: how often it was taken to change the region
	region
}

// nobody is the id that stands for none: INVALID_UID and INVALID_GID.
const nobody = 1<<32 - 1

// newTable makes an empty table for its first rule, with room for ring stamps
// an address.
func newTable(m *Module, info *Info, ring uint32) (*Table, error) {
	p := m.Params()
	if p.Compat == Modern && (p.UID == nobody || p.GID == nobody) {
		return nil, invalid("ip_list_uid=%d, ip_list_gid=%d: %d is nobody's", p.UID, p.GID, uint32(nobody))
	}
	t := &Table{name: info.Name, module: m, mask: addr.Load(&info.Mask), limit: p.ListTot}
	t.attr = Attr{Perms: p.Perms, UID: p.UID, GID: p.GID}
	if t.attr.Perms == 0 {
		t.attr.Perms = 0o444
	}
	return t, t.region.reserve(p.ListTot, ring)
}

func (t *Table) ringSize() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ring
}

// widen gives the table memory for more stamps. It loses its entries, as in
// recent_mt_check.
func (t *Table) widen(wide region) {
	t.mu.Lock()
	old := t.region
	t.region = wide
	t.changes++
	t.mu.Unlock()
	t.release(old)
}

// destroy makes the table gone and returns its memory. Registry.mu is held.
func (t *Table) destroy() (old region) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dead = true
	old, t.region = t.region, region{ring: t.ring}
	t.changes++
	return old
}

// Gone tells whether the table's last rule is gone, and the table with it.
func (t *Table) Gone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dead
}

// release gives back memory that was the table's, once nobody copies out of it
// any more: who begins to copy now does so out of other memory.
func (t *Table) release(old region) {
	if old.mem == nil {
		return
	}
	t.copying.Lock()
	t.copying.Unlock() //lint:ignore SA2001 it is a wait, and unmapping takes long
	old.release()
}

// Name is the table's name, 1 to 199 bytes.
func (t *Table) Name() string { return t.name }

// ID tells tables apart, also those that bore the same name at different
// times. It is 1 or more.
func (t *Table) ID() uint64 { return t.id }

// Attr is what stat(2) shows of the table's file.
func (t *Table) Attr() Attr {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attr
}

// Chattr changes the attributes of the table's file in place: proc_setattr of
// fs/proc/generic.c. It fails with EIO once the table is gone.
func (t *Table) Chattr(change func(*Attr)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead {
		return errGone
	}
	change(&t.attr)
	return nil
}

// Len is the number of addresses in the table.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.entries)
}
