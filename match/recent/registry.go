package recent

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

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

	mu     sync.Mutex
	tables map[string]*Table // guarded by mu
	lastID uint64            // guarded by mu
}

// NewRegistry returns a registry without tables, or an error for parameters
// with which the module would not load: recent_mt_init.
func NewRegistry(p Params, clock jiffies.Clock) (*Registry, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &Registry{params: p, clock: clock, tables: make(map[string]*Table)}, nil
}

// Params are the parameters that the registry was made with.
func (r *Registry) Params() Params { return r.params }

// Clock is the clock that stamps come from.
func (r *Registry) Clock() jiffies.Clock { return r.clock }

// Check makes a rule, and its table where there is none of its name yet:
// recent_mt_check. In Modern a rule that counts more hits than the table keeps
// stamps flushes and widens the table. An error changes nothing.
func (r *Registry) Check(info Info) (*Rule, error) {
	if err := r.params.CheckRule(&info); err != nil {
		return nil, err
	}
	rule := &Rule{info: info, window: jiffies.Jiffies(info.Seconds * r.clock.HZ())}
	made := false
	err := func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		t := r.tables[info.Name]
		if t == nil {
			var err error
			if t, err = newTable(r, &info); err != nil {
				return err
			}
			r.tables[info.Name] = t
			made = true
		} else if err := t.widen(r.params.ring(info.HitCount)); err != nil {
			return err
		}
		t.refs++
		rule.table = t
		return nil
	}()
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", info.Name, err)
	}
	if made && r.Changed != nil {
		r.Changed(info.Name)
	}
	return rule, nil
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

	mu   sync.Mutex
	attr Attr // guarded by mu
	dead bool // guarded by mu: the last rule is gone
	region
}

// newTable makes an empty table for its first rule. r.mu is held.
func newTable(r *Registry, info *Info) (*Table, error) {
	p := r.params
	t := &Table{name: info.Name, reg: r, mask: loadAddr(&info.Mask), limit: p.ListTot}
	t.attr = Attr{Perms: p.Perms, UID: p.UID, GID: p.GID}
	if t.attr.Perms == 0 {
		t.attr.Perms = 0o444
	}
	if err := t.region.reserve(p.ListTot, p.ring(info.HitCount)); err != nil {
		return nil, err
	}
	r.lastID++
	t.id = r.lastID
	return t, nil
}

// widen makes room for ring stamps an address. A table that has fewer loses
// its entries, as in recent_mt_check. Registry.mu is held.
func (t *Table) widen(ring uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ring <= t.ring {
		return nil
	}
	var wide region
	if err := wide.reserve(t.limit, ring); err != nil {
		return err
	}
	t.region.release()
	t.region = wide
	return nil
}

func (t *Table) destroy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dead = true
	t.region.release()
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
