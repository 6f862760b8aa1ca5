package recent

// Reload is new parameters on their way in, together with new rules. First comes
// what can fail: Module.Reload, and CheckAll for each registry that has tables.
// Nothing that is there has changed by then but that new tables came. Then either
//   - Widen, the exchange of the rules, and Finish, so that no rule ever meets a
//     table that keeps fewer stamps than it counts hits, or
//   - Cancel, after which the caller destroys the rules.
//
// Until then no other rules are made in these registries, and the rules of this
// Reload are not destroyed.
type Reload struct {
	module *Module
	given  Params
	plans  []*plan
}

// Reload begins to change the parameters to p. Compat stays as it is. An owner of
// new tables that was written by SetUID or SetGID stays too, unless p has another
// one than the parameters given before.
func (m *Module) Reload(p Params) (*Reload, error) {
	if now := m.Params().Compat; p.Compat != now {
		return nil, invalid("compatibility %s: it is %s, and stays so until a restart", p.Compat, now)
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return &Reload{module: m, given: p}, nil
}

// params are what Module.Params will be. Module.mu is held.
func (l *Reload) params() Params {
	p, was, now := l.given, l.module.given, l.module.params
	if p.UID == was.UID {
		p.UID = now.UID
	}
	if p.GID == was.GID {
		p.GID = now.GID
	}
	return p
}

// CheckAll is Registry.CheckAll with the new parameters. Tables that are there
// change with Widen and Finish.
func (l *Reload) CheckAll(r *Registry, infos []Info) ([]*Rule, error) {
	l.module.mu.Lock()
	params := l.params()
	l.module.mu.Unlock()
	return r.checkAll(params, infos, func(p *plan) { l.plans = append(l.plans, p) })
}

// Widen moves the tables that get more stamps an address.
func (l *Reload) Widen() []Resized { return l.move(true) }

// Finish moves the tables whose size changes otherwise, and puts the parameters in
// place.
func (l *Reload) Finish() []Resized {
	done := l.move(false)
	l.module.mu.Lock()
	defer l.module.mu.Unlock()
	l.module.params, l.module.given = l.params(), l.given
	return done
}

func (l *Reload) move(widens bool) (done []Resized) {
	for _, p := range l.plans {
		done = append(done, p.move(widens)...)
	}
	return done
}

// Cancel gives back the memory that was reserved.
func (l *Reload) Cancel() {
	for _, p := range l.plans {
		p.release()
	}
}
