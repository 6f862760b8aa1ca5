package recent

import (
	"sync"
	"sync/atomic"

	"recentfs/match/jiffies"
)

// Module is what the tables of all network namespaces share: the parameters,
// the owner of new tables, and the clock. It is the kernel's module as it is
// loaded. Its methods may be called by many goroutines.
type Module struct {
	clock  jiffies.Clock
	kept   Kept   // by all open files, of long lines: Cursor.keep
	budget budget // of the regions of all tables
	// What Progress returns.
	moved, passed atomic.Uint64

	mu     sync.Mutex
	given  Params // guarded by mu: by the caller, at the start or by the last Reload
	params Params // guarded by mu: as they are now

	refusing sync.Mutex
	refused  Refused // guarded by refusing, which nobody holds for longer than a copy
}

// NewModule returns an error for parameters with which the module would not
// load: recent_mt_init.
func NewModule(p Params, clock jiffies.Clock) (*Module, error) { return NewModuleWithin(0, p, clock) }

// NewModuleWithin is NewModule with a bound of the bytes that all tables may come to
// need. 0 is no bound.
func NewModuleWithin(most uint64, p Params, clock jiffies.Clock) (*Module, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &Module{given: p, params: p, clock: clock, budget: budget{most: most}}, nil
}

// Params are the parameters as they are now.
func (m *Module) Params() Params {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.params
}

// Progress counts the steps of what may take long in large tables, and is no hang: the
// entries that a Reload moves, by some thousands, while packets and reads wait; and the
// lines that reads pass over to get to a position.
func (m *Module) Progress() (moved, passed uint64) { return m.moved.Load(), m.passed.Load() }

// SetUID changes ip_list_uid, which owns the files of new tables: param_set_uint
// of kernel/params.c.
func (m *Module) SetUID(uid uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.params.UID = uid
}

// SetGID changes ip_list_gid.
func (m *Module) SetGID(gid uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.params.GID = gid
}

// NewRegistry returns a registry without tables: recent_net_init. watch, where
// it is not nil, hears of each table that comes or goes. The tables go with the
// process.
func (m *Module) NewRegistry(watch func(Event)) *Registry { return m.NewRegistryIn(Anonymous{}, watch) }

// NewRegistryIn is NewRegistry with tables whose regions are in a Memory. A table
// goes on where processes before have left it.
func (m *Module) NewRegistryIn(memory Memory, watch func(Event)) *Registry {
	return &Registry{module: m, memory: memory, watch: watch, tables: make(map[string]*Table)}
}

// Event says that a table has come or gone. It is sent after the fact, without
// locks, by the goroutine that made or destroyed the rule, before CheckAll or
// Destroy returns.
//
// Events of several goroutines may arrive in another order than they happened.
// A table is Gone before its last event is sent. So a receiver that keeps a list
// of tables must ask a table that came whether it is Gone, under the lock of the
// list. Then no table stays in the list after it is gone.
type Event struct {
	Table *Table
	Gone  bool
}
