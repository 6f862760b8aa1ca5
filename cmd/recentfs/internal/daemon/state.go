package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/fs"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/match/state"
)

// lockState keeps other processes away from the directories of Config.State, until
// ctx is done.
func (s *Server) lockState(ctx context.Context, ready func()) error {
	if s.config.State == "" {
		ready()
		<-ctx.Done()
		return nil
	}
	unlock, err := state.Lock(s.config.State)
	if err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	defer unlock()
	warn := func(text string) { logrus.Warn(text) }
	live, unlockLive, err := state.LockLive(filepath.Dir(s.config.Control), warn)
	if err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	defer unlockLive()
	s.live = live
	ready()
	<-ctx.Done()
	return nil
}

// newRegistry makes the tables of a namespace, and what keeps them, which is nil
// without Config.State.
func (s *Server) newRegistry(netns string, folder *fs.Folder) (*recent.Registry, *state.Dir, error) {
	if s.config.State == "" {
		return s.answers.module.NewRegistry(folder.Update), nil, nil
	}
	name := folderName(netns)
	warn := func(text string) { logrus.Warn(explain(netns, errors.New(text))) }
	dir, err := state.Open(filepath.Join(s.live, name), filepath.Join(s.config.State, name), s.clock, warn)
	if err != nil {
		return nil, nil, explain(netns, fmt.Errorf("--state: %w", err))
	}
	registry := s.answers.module.NewRegistryIn(dir, folder.Update)
	registry.SkipIDs(folder.LastID()) // the kernel may know the nodes of tables that are gone
	return registry, dir, nil
}

// keepSnapshots saves the tables now and then.
func (s *Server) keepSnapshots(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(s.config.Sync)
	defer tick.Stop()
	said, lost := "", ""
	if unix.Access(s.config.State, unix.W_OK) != nil { // say so now
		said = logFailure(s.saveAll(), said)
	}
	for {
		select {
		case <-tick.C:
			said = logFailure(s.saveAll(), said)
			lost = s.logLost(lost)
		case <-ctx.Done():
			return nil
		}
	}
}

// logFailure says why tables are not saved, unless it has said so before. It returns
// what it said last, or "" if they are saved.
func logFailure(err error, said string) string {
	switch {
	case err == nil && said != "":
		logrus.Info("state: the tables are saved again")
	case err != nil && err.Error() != said:
		logEach("tables are not saved, and go on", err)
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// saveLast is saveAll at the end of recentfs.
func (s *Server) saveLast() {
	if err := s.saveAll(); err != nil {
		logEach("at the end tables are not saved, and stay in memory until a boot", err)
	}
}

// logEach says what is the matter, and why, with a line for each cause.
func logEach(what string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		logrus.Errorf("state: %s: %s", what, line)
	}
}

// logLost says which tables have no file in memory any more, unless it has said so
// before. It returns what it said last.
func (s *Server) logLost(said string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	for _, i := range s.sorted() {
		if i.state == nil {
			continue
		}
		if err := i.state.Check(i.registry.Tables()); err != nil {
			text += i.explain(err).Error() + "\n"
		}
	}
	if text != said {
		for line := range strings.Lines(text) {
			logrus.Errorf("state: %s: it goes on, and is lost if recentfs is killed: restart recentfs", strings.TrimSuffix(line, "\n"))
		}
	}
	return text
}

// Save implements control.Daemon.
func (s *Server) Save() error {
	if s.config.State == "" {
		return &control.Error{Status: http.StatusConflict, Err: errors.New("recentfs keeps no tables: start it with 'recentfs run --state DIR'")}
	}
	return s.saveAll()
}

// saveAll writes snapshots of all tables that have changed.
func (s *Server) saveAll() error {
	return s.save(func(i *instance) []*recent.Table { return i.registry.Tables() })
}

// saveLeaving writes snapshots of the tables that have no rule in new files, for a
// rule that comes back.
func (s *Server) saveLeaving(files map[string]*ruleset.File) error {
	return s.save(func(i *instance) []*recent.Table {
		stay := files[i.rulesFile].Tables()
		return slices.DeleteFunc(i.registry.Tables(), func(t *recent.Table) bool { return stay[t.Name()] })
	})
}

// save writes snapshots of those tables that have changed, and forgets what is too
// old. None of the daemon's other locks is held meanwhile: a disk may be slow.
func (s *Server) save(which func(*instance) []*recent.Table) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	all := s.sorted()
	s.mu.Unlock()
	var errs []error
	for _, i := range all {
		if i.state == nil {
			continue
		}
		err := errors.Join(i.state.Save(which(i)), i.state.Forget(i.registry.Tables(), s.config.StateKeep))
		if err != nil {
			errs = append(errs, i.explain(err))
		}
	}
	return errors.Join(errs...)
}
