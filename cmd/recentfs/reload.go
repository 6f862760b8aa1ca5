package main

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

// Reload implements control.Daemon: it reads the files of rules again. An
// error, in whichever namespace, changes nothing.
func (s *server) Reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	files, err := s.config.readRules()
	if err != nil {
		return &control.Error{Status: http.StatusUnprocessableEntity, Err: err}
	}
	if err := s.swap(files); err != nil {
		return err
	}
	logrus.Infof("the rules were reloaded, for %s", s.summary())
	return nil
}

// swap puts rules in the place of those at work: first everything that can
// fail, then the exchange.
func (s *server) swap(files map[string]*ruleset.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return &control.Error{Status: http.StatusServiceUnavailable, Err: errors.New("recentfs is stopping")}
	}
	var changes []*change
	for _, i := range s.instances {
		c, err := i.prepare(files[i.rules])
		if err != nil {
			for _, c := range changes {
				err = errors.Join(err, c.cancel())
			}
			return err
		}
		changes = append(changes, c)
	}
	for _, c := range changes {
		c.commit()
	}
	s.files = files
	if s.selection == nil {
		s.setProcs()
		return nil
	}
	clear(s.refused) // the new rules may be to their liking
	s.update(false)
	return nil
}

// summary says for what the rules are, in a log line.
func (s *server) summary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	queues := 0
	for _, i := range s.instances {
		queues += len(i.queues)
	}
	text := fmt.Sprintf("%d %s", queues, plural(queues, "queue", "queues"))
	if s.selection != nil {
		text += fmt.Sprintf(" in %d network %s", len(s.instances), plural(len(s.instances), "namespace", "namespaces"))
	}
	return text
}

// Rules implements control.Daemon.
func (s *server) Rules(w io.Writer, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for _, i := range s.sorted() {
		if name != "" && i.name != name {
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
	if !found && name != "" {
		return &control.Error{Status: http.StatusNotFound, Err: fmt.Errorf("network namespace %s has no rules here: see 'recentfs run --netns'", name)}
	}
	return nil
}

// sorted are the instances by name. s.mu is held.
func (s *server) sorted() []*instance {
	var all []*instance
	for _, i := range s.instances {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *instance) int { return strings.Compare(a.name, b.name) })
	return all
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
