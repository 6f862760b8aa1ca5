package daemon

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/match/ruleset"
)

// Reload implements control.Daemon: it reads the parameters and the files of rules
// again. An error, in whatever namespace, changes nothing.
func (s *Server) Reload(w io.Writer) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	params := s.params
	if s.config.ReadParams != nil {
		var err error
		if params, err = s.config.ReadParams(); err != nil {
			return &control.Error{Status: http.StatusUnprocessableEntity, Err: err}
		}
	}
	files, err := s.config.readRules(params.Params)
	if err != nil {
		return &control.Error{Status: http.StatusUnprocessableEntity, Err: err}
	}
	logFailure(s.saveLeaving(files), "")
	news, err := s.swap(files, params)
	if err != nil {
		return err
	}
	s.params = params
	logrus.Infof("the rules were reloaded, for %s", s.summary())
	return append(news, s.memoryNews()...).tell(w)
}

// swap puts new rules and parameters in the place of the old ones in all instances:
// first everything that can fail, then the exchange. It returns what became of the
// parameters.
func (s *Server) swap(files map[string]*ruleset.File, params Params) (news, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, &control.Error{Status: http.StatusServiceUnavailable, Err: errors.New("recentfs is stopping")}
	}
	module := s.answers.module
	before := module.Params()
	reload, err := module.Reload(params.Params)
	if err != nil {
		return nil, &control.Error{Status: http.StatusUnprocessableEntity, Err: err}
	}
	var rollouts []*rollout
	for _, i := range s.instances {
		r, err := i.prepare(files[i.rulesFile], reload)
		if err != nil {
			reload.Cancel()
			for _, r := range rollouts {
				err = errors.Join(err, r.cancel())
			}
			return nil, err
		}
		rollouts = append(rollouts, r)
	}
	moved := reload.Widen()
	for _, r := range rollouts {
		r.commit()
	}
	moved = append(moved, reload.Finish()...)
	s.files = files
	clear(s.refused) // the new rules may suit them
	s.reconcile(false)
	return append(paramNews(s.params, params, before, module.Params()), s.tableNews(moved)...), nil
}

// summary says how much the rules are for, in a log line.
func (s *Server) summary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	queues := 0
	for _, i := range s.instances {
		queues += len(i.queues)
	}
	text := count(queues, "queue")
	if len(s.config.Netns) > 0 {
		text += " in " + count(len(s.instances), "network namespace")
	}
	return text
}

func count(n int, noun string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(noun, "s"):
		noun += "es"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// Rules implements control.Daemon.
func (s *Server) Rules(w io.Writer, netns string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for _, i := range s.sorted() {
		if netns != "" && i.name != netns {
			continue
		}
		found = true
		if i.name != "" {
			fmt.Fprintf(w, "# network namespace %s\n", i.name)
		}
		if i.set == nil {
			continue
		}
		if err := i.set.Save(w, true); err != nil {
			return err
		}
	}
	if !found && netns != "" {
		return &control.Error{
			Status: http.StatusNotFound,
			Err:    fmt.Errorf("network namespace %s has no rules here: see 'recentfs run --netns'", netns),
		}
	}
	return nil
}

// sorted returns the instances by name. mu is held.
func (s *Server) sorted() []*instance {
	var all []*instance
	for _, i := range s.instances {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *instance) int { return strings.Compare(a.name, b.name) })
	return all
}
