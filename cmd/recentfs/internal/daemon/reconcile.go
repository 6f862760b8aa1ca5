package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/sirupsen/logrus"

	"recentfs/fs"
	"recentfs/namespaces"
)

// selectNamespaces checks the names of Config.NetnsRules. At the end it takes the
// instances down. It is the first task, so their tables stay until the mounts are
// gone.
func (s *Server) selectNamespaces(ctx context.Context, ready func()) error {
	for name := range s.config.NetnsRules {
		if !s.wanted.CouldSelect(name) {
			return fmt.Errorf("--netns-rules %s: no --netns selects a namespace of that name", name)
		}
	}
	ready()
	<-ctx.Done()
	if !s.leaving { // the next process has what is in memory
		s.saveLast()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, i := range s.instances {
		i.registry.Leave()
		errs = append(errs, i.exit())
	}
	return errors.Join(errs...)
}

// serveNamespaces makes an instance for each selected namespace that is there, and
// mends their queues. At the end it unbinds them.
func (s *Server) serveNamespaces(ctx context.Context, ready func()) (err error) {
	if err = s.addFirst(); err == nil {
		err = s.tables.Answer()
	}
	if err == nil {
		ready()
		s.mendQueues(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	errs := []error{err}
	for _, i := range s.instances {
		if s.leaving {
			errs = append(errs, i.leaveQueues())
		} else {
			errs = append(errs, i.unbindAll())
		}
	}
	return errors.Join(errs...)
}

// addFirst makes the first instances. If one cannot be made, that is an error
// where its namespace was named.
func (s *Server) addFirst() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	present, err := s.host.Present()
	if err != nil {
		return err
	}
	for _, found := range present {
		switch err := s.add(found); {
		case err == nil, errors.Is(err, namespaces.ErrGone):
		case s.wanted.Names(found.Name):
			return err
		default:
			s.refuse(found, err)
		}
	}
	s.setProcs()
	return nil
}

// watchNamespaces keeps the instances those of the namespaces that are there.
func (s *Server) watchNamespaces(ctx context.Context, ready func()) error {
	reconcile := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reconcile(false)
	}
	unwatch, err := s.host.Watch(reconcile)
	if err != nil {
		return err
	}
	defer unwatch()
	reconcile() // some may have come or gone before the watch
	ready()
	<-ctx.Done()
	return nil
}

// reconcile makes the instances those of the namespaces that are there: ops_init
// and ops_exit_list of net/core/net_namespace.c. A namespace that could have no
// instance is tried again only if retryRefused is true. mu is held.
func (s *Server) reconcile(retryRefused bool) {
	if s.stopped {
		return
	}
	present, err := s.host.Present()
	if err != nil {
		logrus.Warnf("network namespaces: %v; they stay as they are for now", err)
		return
	}
	names := make(map[namespaces.ID][]string)
	for _, found := range present {
		names[found.ID] = found.Names
	}
	for id, i := range s.instances {
		if !slices.Contains(names[id], i.name) {
			s.remove(id, i)
		}
	}
	for id := range s.refused {
		if _, ok := names[id]; !ok {
			delete(s.refused, id)
		}
	}
	for _, found := range present {
		if s.instances[found.ID] != nil || s.refused[found.ID] != "" && !retryRefused {
			continue
		}
		err := s.add(found)
		switch {
		case errors.Is(err, namespaces.ErrGone):
		case err != nil:
			s.refuse(found, err)
		default:
			delete(s.refused, found.ID)
			logrus.Infof("network namespace %s: its tables are in %s", found.Name, filepath.Join(s.tables.Dir(), tablesPath(found.Name)))
		}
	}
	s.setProcs()
}

// refuse says why a namespace has no instance, unless it has said so before. mu
// is held.
func (s *Server) refuse(found namespaces.Found, err error) {
	if why := err.Error(); s.refused[found.ID] != why {
		s.refused[found.ID] = why
		logrus.Errorf("%s; the namespace has no tables for now: recentfs tries again every %v", why, houseEvery)
	}
}

// add makes the instance of a namespace: recent_net_init. mu is held.
func (s *Server) add(found namespaces.Found) (err error) {
	held, err := s.host.Hold(found)
	if err != nil {
		return explain(found.Name, err)
	}
	defer func() {
		if err != nil {
			held.Close()
		}
	}()
	folder, err := s.addFolder(found.Name)
	if err != nil {
		return err
	}
	registry, dir, err := s.newRegistry(found.Name, folder)
	if err != nil {
		s.removeFolder(found.Name)
		return err
	}
	i := &instance{
		name: found.Name, host: s.host, found: found, held: held, rulesFile: s.config.rulesOf(found.Name),
		registry: registry, state: dir, outliving: &s.outliving, clock: s.clock, broken: s.broken, packets: s.packets,
		options: s.config.Queue.OrDefaults(), queues: make(map[uint16]*queue), repairs: make(map[uint16]*repair),
	}
	r, err := i.prepare(s.files[i.rulesFile], nil)
	if err != nil {
		s.removeFolder(found.Name)
		return err
	}
	r.commit()
	if dir != nil {
		if err := dir.Clean(registry.Tables()); err != nil {
			logrus.Warn(i.explain(err))
		}
	}
	s.instances[found.ID] = i
	s.answers.nameByID.Store(found.ID, i.name)
	return nil
}

// addFolder makes the folder of a namespace's tables. The root of the mount, where
// the tables of the only namespace are, is always there.
func (s *Server) addFolder(name string) (*fs.Folder, error) {
	if s.root != nil {
		return s.root, nil
	}
	return s.folders.Add(name)
}

func (s *Server) removeFolder(name string) {
	if s.folders != nil {
		s.folders.Remove(name)
	}
}

// remove takes down the instance of a namespace that is gone: recent_net_exit.
// mu is held.
func (s *Server) remove(id namespaces.ID, i *instance) {
	s.answers.nameByID.Delete(id)
	delete(s.instances, id)
	err := i.exit()
	if i.state != nil {
		err = errors.Join(err, i.state.Remove())
	}
	if err != nil {
		logrus.Warn(i.explain(err))
	}
	s.removeFolder(i.name)
	logrus.Infof("network namespace %s is gone, and its tables with it", i.name)
}

// A queue's loop sleeps in the kernel most of the time. When packets wake it, it
// needs a place among GOMAXPROCS, for which it may have to wait until a reader of
// a table is preempted, after 10 ms at the latest. So each queue adds one to
// GOMAXPROCS, up to this many.
const maxExtraProcs = 16

// setProcs adapts GOMAXPROCS to the number of queues. mu is held.
func (s *Server) setProcs() {
	queues := 0
	for _, i := range s.instances {
		queues += len(i.queues)
	}
	// Setting it stops all goroutines for a moment.
	if n := s.procs + min(queues, maxExtraProcs); n != runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
}
