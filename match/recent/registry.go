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
	module *Module
	memory Memory
	watch  func(Event) // may be nil

	mu     sync.Mutex
	tables map[string]*Table // guarded by mu
	lastID uint64            // guarded by mu
	leaves bool              // guarded by mu: see Leave
}

// Clock is the clock that stamps come from.
func (r *Registry) Clock() jiffies.Clock { return r.module.clock }

// tell sends an event. No lock is held.
func (r *Registry) tell(e Event) {
	if r.watch != nil {
		r.watch(e)
	}
}

// CheckAll makes rules, and for each its table unless there is one of that name:
// recent_mt_check. In Modern a rule that counts more hits than its table keeps
// stamps flushes and widens the table.
//
// An error is a *CheckError. It changes nothing, since memory for all tables is
// reserved before any is touched.
func (r *Registry) CheckAll(infos []Info) ([]*Rule, error) {
	return r.checkAll(r.module.Params(), infos, func(p *plan) { p.move(true); p.move(false) })
}

// checkAll makes rules and new tables under parameters. What the rules need of
// tables that are there is up to after, which is called under r.mu.
func (r *Registry) checkAll(params Params, infos []Info, after func(*plan)) ([]*Rule, error) {
	for i := range infos {
		if err := params.CheckRule(&infos[i]); err != nil {
			return nil, &CheckError{i, infos[i].Name, err}
		}
	}
	r.mu.Lock()
	p, err := newPlan(r, params, infos)
	if err != nil {
		r.mu.Unlock()
		return nil, err
	}
	rules := p.makeRules(infos)
	after(p)
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
	old := t.destroy() // under r.mu: when there is another table of the name, this one is Gone
	if !r.leaves {
		old.memory.Remove()
	}
	r.mu.Unlock()
	t.release(old)
	r.tell(Event{Table: t, Gone: true})
}

// SkipIDs gives no new table an ID up to that one: files of tables that are gone may
// still be open.
func (r *Registry) SkipIDs(last uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastID = max(r.lastID, last)
}

// Leave ends the registry. Its tables stay for the next process, if its Memory can
// do that. Rules are to be destroyed all the same.
func (r *Registry) Leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaves = true
}

// Table is the table of that name, or nil: recent_table_lookup.
func (r *Registry) Table(name string) *Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tables[name]
}

// Tables are all tables in the order of procfs: shorter names first, then by
// bytes (proc_match of fs/proc/generic.c).
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
