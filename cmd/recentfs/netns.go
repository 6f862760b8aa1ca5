package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sirupsen/logrus"

	"recentfs/fs"
	"recentfs/namespaces"
)

// startAll begins with the namespaces of --netns that are there, and watches
// for the others.
func (s *server) startAll() (err error) {
	if s.mount, s.folders, err = fs.MountNamespaces(s.config.mountpoint, s.folderOf); err != nil {
		return err
	}
	s.mu.Lock()
	err = s.addFirst()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.unwatch, err = s.selection.Watch(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.update(false)
	})
	if err != nil {
		return err
	}
	// What came and went before the watch.
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update(false)
	return nil
}

// addFirst makes the first instances. One that cannot be is an error where its
// namespace was named. s.mu is held.
func (s *server) addFirst() error {
	present, err := s.selection.Present()
	if err != nil {
		return err
	}
	for _, found := range present {
		switch err := s.add(found); {
		case err == nil, errors.Is(err, namespaces.ErrGone):
		case s.selection.Names(found.Name):
			return err
		default:
			s.refuse(found, err)
		}
	}
	return nil
}

// update makes the instances those of the namespaces that are there: ops_init
// and ops_exit_list of net/core/net_namespace.c. Where there could be none, it
// tries again if asked to. s.mu is held.
func (s *server) update(again bool) {
	if s.stopped {
		return
	}
	present, err := s.selection.Present()
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
		if s.instances[found.ID] != nil || s.refused[found.ID] != "" && !again {
			continue
		}
		err := s.add(found)
		switch {
		case errors.Is(err, namespaces.ErrGone):
		case err != nil:
			s.refuse(found, err)
		default:
			delete(s.refused, found.ID)
			logrus.Infof("network namespace %s: its tables are in %s", found.Name, filepath.Join(s.mount.Dir(), fs.FolderPath(found.Name)))
		}
	}
	s.setProcs()
}

// refuse says why a namespace has no instance, unless that is known. s.mu is
// held.
func (s *server) refuse(found namespaces.Found, err error) {
	if why := err.Error(); s.refused[found.ID] != why {
		s.refused[found.ID] = why
		logrus.Errorf("%s; the namespace has no tables for now: recentfs tries again every %v", why, watchEvery)
	}
}

// add makes the instance of a namespace: recent_net_init. s.mu is held.
func (s *server) add(found namespaces.Found) (err error) {
	ns, err := found.Open()
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", found.Name, err)
	}
	defer func() {
		if err != nil {
			ns.Close()
		}
	}()
	folder, err := s.folders.Add(found.Name)
	if err != nil {
		return err
	}
	reg := s.tables.NewRegistry(folder.Update)
	if err := s.launch(found.ID, s.newInstance(found.Name, ns, reg)); err != nil {
		s.folders.Remove(found.Name)
		return err
	}
	return nil
}

// remove takes down the instance of a namespace that is gone: recent_net_exit.
// s.mu is held.
func (s *server) remove(id namespaces.ID, i *instance) {
	s.managed.Delete(id)
	delete(s.instances, id)
	if err := i.exit(); err != nil {
		logrus.Warn(i.explain(err))
	}
	s.folders.Remove(i.name)
	logrus.Infof("network namespace %s is gone, and its tables with it", i.name)
}
