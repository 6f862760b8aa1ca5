package recent

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"recentfs/match/jiffies"
)

// Registry holds the tables of one network namespace: the kernel's struct
// recent_net. A table lives as long as a rule refers to it.
type Registry struct {
	params Params
	clock  jiffies.Clock
	// Changed, where set, is called with the name of each table that came or
	// went, after the fact and without locks. It is set before the first rule.
	Changed func(name string)
	// Owner is the registry's own, or that of several: it is set before the
	// first rule.
	Owner *Owner

	mu     sync.Mutex
	tables map[string]*Table // guarded by mu
	lastID uint64            // guarded by mu
}

// Owner is ip_list_uid and ip_list_gid, which own the files of tables that are
// made from now on. The module has one for all network namespaces.
type Owner struct{ UID, GID atomic.Uint32 }

// NewOwner returns the owner that the parameters start with.
func NewOwner(p Params) *Owner {
	o := new(Owner)
	o.UID.Store(p.UID)
	o.GID.Store(p.GID)
	return o
}

// NewRegistry returns a registry without tables, or an error for parameters
// with which the module would not load: recent_mt_init.
func NewRegistry(p Params, clock jiffies.Clock) (*Registry, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &Registry{params: p, clock: clock, Owner: NewOwner(p), tables: make(map[string]*Table)}, nil
}

// Clock is the clock that stamps come from.
func (r *Registry) Clock() jiffies.Clock { return r.clock }

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
		if err := r.params.CheckRule(&infos[i]); err != nil {
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
	if r.Changed != nil {
		for _, name := range p.made {
			r.Changed(name)
		}
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
	made   []string          // their names, in order
	wider  map[*Table]region // for tables that are there
}

// plan reserves what the rules need. r.mu is held.
func (r *Registry) plan(infos []Info) (*plan, error) {
	p := &plan{reg: r, tables: make(map[string]*Table), wider: make(map[*Table]region)}
	rings := make(map[string]uint32)
	for i := range infos {
		rings[infos[i].Name] = max(rings[infos[i].Name], r.params.ring(infos[i].HitCount))
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
		t, err := newTable(p.reg, info, ring)
		if err == nil {
			p.tables[info.Name] = t
			p.made = append(p.made, info.Name)
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
	for _, t := range p.tables {
		t.region.release()
	}
	for _, wide := range p.wider {
		wide.release()
	}
}

// carryOut puts the tables in place and makes the rules. Registry.mu is held.
func (p *plan) carryOut(infos []Info) []*Rule {
	r := p.reg
	for _, name := range p.made {
		r.lastID++
		p.tables[name].id = r.lastID
		r.tables[name] = p.tables[name]
	}
	for t, wide := range p.wider {
		t.widen(wide)
	}
	rules := make([]*Rule, len(infos))
	for i, info := range infos {
		t := r.tables[info.Name]
		t.refs++
		rules[i] = &Rule{info: info, table: t, window: jiffies.Jiffies(info.Seconds * r.clock.HZ())}
	}
	return rules
}

// Destroy gives up a rule, and its table with the table's last rule:
// recent_mt_destroy. Each rule is destroyed once.
func (r *Registry) Destroy(rule *Rule) {
	t := rule.table
	r.mu.Lock()
	t.refs--
	gone := t.refs == 0
	if gone {
		delete(r.tables, t.name)
	}
	r.mu.Unlock()
	if gone {
		t.destroy()
		if r.Changed != nil {
			r.Changed(t.name)
		}
	}
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
	name  string
	id    uint64
	reg   *Registry
	mask  addr
	limit uint32 // ip_list_tot
	refs  uint32 // guarded by Registry.mu

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
// an address. r.mu is held.
func newTable(r *Registry, info *Info, ring uint32) (*Table, error) {
	p := r.params
	uid, gid := r.Owner.UID.Load(), r.Owner.GID.Load()
	if p.Compat == Modern && (uid == nobody || gid == nobody) {
		return nil, invalid("ip_list_uid=%d, ip_list_gid=%d: %d is nobody's", uid, gid, uint32(nobody))
	}
	t := &Table{name: info.Name, reg: r, mask: loadAddr(&info.Mask), limit: p.ListTot}
	t.attr = Attr{Perms: p.Perms, UID: uid, GID: gid}
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

func (t *Table) destroy() {
	t.mu.Lock()
	t.dead = true
	old := t.region
	t.region = region{ring: old.ring}
	t.changes++
	t.mu.Unlock()
	t.release(old)
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
