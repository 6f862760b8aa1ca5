package daemon

import (
	"errors"

	"github.com/sirupsen/logrus"

	"recentfs/capture/nfqueue"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

// rollout is new rules for an instance. Once it is prepared, everything that can
// fail has been done.
type rollout struct {
	*instance
	set    *ruleset.Set
	opened map[uint16]*nfqueue.Queue // queues that only the new rules have
	kept   map[uint16]bool           // all queues that the new rules have
}

// prepare gets rules ready, for a reload of the parameters if it is not nil.
// Server.mu is held until commit or cancel.
func (i *instance) prepare(file *ruleset.File, reload *recent.Reload) (_ *rollout, err error) {
	r := &rollout{instance: i, opened: make(map[uint16]*nfqueue.Queue), kept: make(map[uint16]bool)}
	defer func() {
		if err != nil {
			err = errors.Join(i.explain(err), r.cancel())
		}
	}()
	var missing []uint16
	for _, n := range file.Queues() {
		r.kept[n] = true
		if i.queues[n] == nil {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		if err := r.open(missing); err != nil {
			return nil, err
		}
	}
	if reload == nil {
		r.set, err = file.Load(i.registry)
	} else {
		r.set, err = file.LoadFor(reload, i.registry)
	}
	return r, err
}

func (r *rollout) open(queues []uint16) error {
	for _, n := range queues {
		q, err := r.openQueue(n)
		if err != nil {
			return err
		}
		r.opened[n] = q
	}
	return nil
}

// cancel takes back what prepare did.
func (r *rollout) cancel() error {
	var errs []error
	for _, q := range r.opened {
		errs = append(errs, q.Close())
	}
	if r.set != nil {
		r.set.Close()
	}
	return errors.Join(errs...)
}

// commit puts the new rules in the place of the old ones. A table that both have
// keeps its entries, since the new rules refer to it already. Server.mu is held.
func (r *rollout) commit() {
	for n := range r.repairs {
		if r.opened[n] != nil || !r.kept[n] {
			delete(r.repairs, n)
		}
	}
	for n := range r.queues {
		if r.kept[n] {
			continue
		}
		if err := r.unbind(n); err != nil {
			logrus.Warn(r.explain(err))
		}
	}
	r.exchange(r.set)
	for _, q := range r.opened { // before any packet is decided
		if notes := notesOf(q); notes != nil {
			notes.Settle(r.registry)
		}
	}
	for n, q := range r.opened {
		r.bind(n, q)
	}
}
