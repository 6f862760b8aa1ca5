package recent

import "recentfs/match/jiffies"

// plan is what rules need: tables and memory that are reserved, but not yet in
// place. Registry.mu is held from newPlan until cancel or carryOut returns.
type plan struct {
	reg    *Registry
	lastID uint64            // of the tables in made
	tables map[string]*Table // new ones
	made   []*Table          // the same, in order
	wider  map[*Table]region // for tables that are there
}

// newPlan reserves what the rules need.
func newPlan(r *Registry, infos []Info) (*plan, error) {
	p := &plan{reg: r, lastID: r.lastID, tables: make(map[string]*Table), wider: make(map[*Table]region)}
	rings := make(map[string]uint32)
	for i := range infos {
		rings[infos[i].Name] = max(rings[infos[i].Name], r.module.params.Ring(infos[i].HitCount))
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
	if t := p.reg.tables[info.Name]; t != nil {
		return p.widen(t, ring)
	}
	t, err := newTable(p.reg.module, p.lastID+1, info, ring)
	if err != nil {
		return err
	}
	p.lastID++
	p.tables[info.Name] = t
	p.made = append(p.made, t)
	return nil
}

// widen reserves memory for more stamps where a table has too few.
func (p *plan) widen(t *Table, ring uint32) error {
	if _, done := p.wider[t]; done {
		return nil
	}
	wide, err := t.widerRegion(ring)
	if err != nil || wide == nil {
		return err
	}
	p.wider[t] = *wide
	return nil
}

// cancel gives back what was reserved.
func (p *plan) cancel() {
	for _, t := range p.made {
		t.region.memory.release()
	}
	for _, wide := range p.wider {
		wide.memory.release()
	}
}

// carryOut puts the tables in place and makes the rules.
func (p *plan) carryOut(infos []Info) []*Rule {
	r := p.reg
	r.lastID = p.lastID
	for _, t := range p.made {
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
