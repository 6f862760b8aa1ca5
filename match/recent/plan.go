package recent

import "recentfs/match/jiffies"

// plan is what rules need: tables and memory that are reserved, but not yet in
// place. Registry.mu is held from newPlan until cancel or makeRules returns.
type plan struct {
	reg     *Registry
	params  Params // for new tables, and for the size of those that are there
	resizes bool   // the size that the parameters say is another than before
	lastID  uint64 // of the tables in made
	made    []*Table
	rings   map[string]uint32 // stamps per address that each table will have, by its name
	moves   []move            // of tables that are there
	adopted map[string]*Table // those of made that processes before have left
}

// move is a table's way to a region of another size.
type move struct {
	table  *Table
	to     region
	widens bool // it gives addresses more stamps
	keeps  bool // what fits stays
}

// newPlan reserves what the rules need under the parameters.
func newPlan(r *Registry, params Params, infos []Info) (*plan, error) {
	now := r.module.Params()
	p := &plan{
		reg: r, params: params, lastID: r.lastID, rings: make(map[string]uint32), adopted: make(map[string]*Table),
		resizes: params.ListTot != now.ListTot || params.PktListTot != now.PktListTot,
	}
	needs := make(map[string]uint32)
	for i := range infos {
		needs[infos[i].Name] = max(needs[infos[i].Name], params.Ring(infos[i].HitCount))
	}
	p.adopt(infos)
	for i := range infos {
		name := infos[i].Name
		if p.rings[name] != 0 {
			continue
		}
		ring, err := p.reserve(&infos[i], needs[name], params.PktListTot == now.PktListTot)
		if err != nil {
			p.cancel()
			return nil, &CheckError{i, name, err}
		}
		p.rings[name] = ring
	}
	return p, nil
}

// adopt finds tables that processes before have left. It comes before any other is
// made, since they keep their IDs.
func (p *plan) adopt(infos []Info) {
	for i := range infos {
		name := infos[i].Name
		if p.reg.tables[name] != nil || p.adopted[name] != nil {
			continue
		}
		if t := p.reg.find(&infos[i]); t != nil {
			p.adopted[name] = t
			p.made = append(p.made, t)
			p.lastID = max(p.lastID, t.id)
		}
	}
}

// reserve makes sure that there is a table for a rule with room for ring stamps an
// address, and returns for how many it will have room. A table that is there keeps
// room for more if mayBeWider: recent_mt_check only widens.
func (p *plan) reserve(info *Info, ring uint32, mayBeWider bool) (uint32, error) {
	t := p.reg.tables[info.Name]
	keeps := p.resizes
	left := p.adopted[info.Name]
	if left != nil {
		t, keeps, mayBeWider = left, true, false
	}
	if t == nil {
		t, err := newTable(p.reg, p.params, p.lastID+1, info, ring)
		if err != nil {
			return 0, err
		}
		p.lastID++
		p.made = append(p.made, t)
		return ring, nil
	}
	limit, had := t.size()
	if mayBeWider {
		ring = max(ring, had)
	}
	budget := &p.reg.module.budget
	if limit == p.params.ListTot && ring == had {
		if left != nil {
			return ring, budget.adopt(&left.region)
		}
		return ring, nil
	}
	replaces := uint64(0)
	if left == nil {
		replaces = t.footprint()
	}
	to, err := budget.newRegion(p.reg.memory, p.params.ListTot, ring, replaces)
	if err != nil {
		return 0, err
	}
	if err := t.reserveIn(&to); err != nil {
		to.release()
		return 0, err
	}
	p.moves = append(p.moves, move{t, to, ring > had, keeps})
	return ring, nil
}

// cancel gives back all that was reserved, before makeRules.
func (p *plan) cancel() {
	for _, t := range p.made {
		t.region.release()
	}
	p.release()
}

// release gives back the memory for tables that are there.
func (p *plan) release() {
	for _, m := range p.moves {
		m.to.release()
	}
}

// makeRules puts the new tables in place and makes the rules.
func (p *plan) makeRules(infos []Info) []*Rule {
	r := p.reg
	r.lastID = p.lastID
	for _, t := range p.made {
		r.tables[t.name] = t
		t.region.memory.Place(t.name)
	}
	rules := make([]*Rule, len(infos))
	for i, info := range infos {
		t := r.tables[info.Name]
		t.refs++
		rules[i] = &Rule{info: info, table: t, number: uint32(i), ring: p.rings[info.Name], window: jiffies.Jiffies(info.Seconds * r.module.clock.HZ())}
	}
	return rules
}

// move moves the tables that get more stamps an address, or else the others. They
// keep what fits if the parameters say another size. If only a rule needs more
// stamps than its table has, the table loses its entries, as in recent_mt_check.
func (p *plan) move(widens bool) (done []Resized) {
	for _, m := range p.moves {
		if m.widens != widens {
			continue
		}
		one := Resized{Registry: p.reg, Table: m.table, Emptied: !m.keeps}
		if m.keeps {
			one.Kept, one.Dropped = m.table.resize(m.to)
		} else {
			one.Dropped = m.table.empty(m.to)
		}
		done = append(done, one)
	}
	return done
}
