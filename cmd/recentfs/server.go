package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"github.com/sirupsen/logrus"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/fs"
	"recentfs/fs/procnet"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/namespaces"
)

// server is a running recentfs: an instance for each network namespace, the
// mounts that show their tables and the module, and the control socket.
//
// Lock order: reloading, mu, instance.deciding.
type server struct {
	config    *config
	clock     jiffies.Clock
	tables    *recent.Module // what the registries of all namespaces share
	mount     *fs.Mountpoint
	folders   *fs.Namespaces // nil without --netns
	module    *fs.Mountpoint
	cover     *procnet.Cover // nil without --proc-net
	control   *control.Server
	selection *namespaces.Selection // nil without --netns
	unwatch   func()                // ends the watch for namespaces; nil without
	ended     chan error            // why a queue's loop ended by itself
	procs     int                   // GOMAXPROCS without queues

	// reloading serialises reloads from the reading of the files on, so that
	// the last one to begin is the one that stays.
	reloading sync.Mutex

	// managed is the name of each namespace that has an instance, by ID, for
	// those who follow a link: they wait for no reload.
	managed sync.Map

	mu        sync.Mutex
	files     map[string]*ruleset.File    // guarded by mu: the rules at work, by their file's name
	instances map[namespaces.ID]*instance // guarded by mu
	refused   map[namespaces.ID]string    // guarded by mu: why there could be none
	stopped   bool                        // guarded by mu
}

// A queue's loop sleeps in the kernel most of the time. When it comes back with
// packets it finds a place to run without waiting for readers of tables to give
// one up, which they do after 10 ms at the latest: each queue adds one to
// GOMAXPROCS, up to this many.
const maxExtraProcs = 16

// startServer brings everything up, or takes back what it did.
func startServer(c *config, clock jiffies.Clock, files map[string]*ruleset.File) (s *server, err error) {
	s = &server{
		config: c, clock: clock, procs: runtime.GOMAXPROCS(0), ended: make(chan error, 1),
		files:     files,
		instances: make(map[namespaces.ID]*instance), refused: make(map[namespaces.ID]string),
	}
	if err := s.start(); err != nil {
		// What could not start says why; what then cannot stop is noise.
		_ = s.stop()
		return nil, err
	}
	go func() {
		if err := s.control.Serve(s); err != nil {
			logrus.Errorf("control socket: %v", err)
		}
	}()
	return s, nil
}

func (s *server) start() (err error) {
	if s.tables, err = recent.NewModule(s.config.params, s.clock); err != nil {
		return err
	}
	if len(s.config.netns) > 0 {
		if s.selection, err = namespaces.Select(s.config.netns); err != nil {
			return err
		}
		for name := range s.config.netnsRules {
			if !s.selection.CouldSelect(name) {
				return fmt.Errorf("--netns-rules %s: no --netns selects a namespace of that name", name)
			}
		}
	}
	// The socket comes first: it tells whether another instance is running.
	if s.control, err = control.Listen(s.config.control); err != nil {
		return err
	}
	if s.selection == nil {
		err = s.startOne()
	} else {
		err = s.startAll()
	}
	if err != nil {
		return err
	}
	s.module, err = fs.MountModule(s.config.module(), fs.Module{Params: s.tables.Params, SetOwner: s.setOwner, Self: s.tablesOf})
	if err != nil {
		return err
	}
	for _, m := range []*fs.Mountpoint{s.mount, s.module} {
		if names := m.Hidden(); len(names) > 0 {
			logrus.Warnf("%s: the directory under the mount holds plain files, %q: writers made them while no recentfs was mounted there; remove them when recentfs is stopped", m.Dir(), names)
		}
	}
	other := procnet.MountedBy(s.module.Dir())
	if other == "" && !s.config.procNet {
		// A dead recentfs may have left it, and it would lead to our tables.
		return procnet.Unmount()
	}
	if s.config.procNet {
		if other != "" {
			return fmt.Errorf("--proc-net: another recentfs, which serves %s, has taken /proc/net: stop that first", other)
		}
		if s.cover, err = procnet.Mount(fs.ModuleFiles(s.module.Dir())); err != nil {
			return fmt.Errorf("--proc-net: %w", err)
		}
	}
	return nil
}

// startOne begins with the namespace of this process, whose tables are at the
// root of the mount.
func (s *server) startOne() error {
	own, err := namespaces.Own()
	if err != nil {
		return err
	}
	var folder *fs.Folder
	if s.mount, folder, err = fs.Mount(s.config.mountpoint); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launch(own, s.newInstance("", nil, s.tables.NewRegistry(folder.Update)))
}

// newInstance is one without rules and queues.
func (s *server) newInstance(name string, ns *namespaces.Namespace, reg *recent.Registry) *instance {
	return &instance{
		name: name, ns: ns, rules: s.config.rulesOf(name), reg: reg, clock: s.clock, ended: s.ended,
		queues: make(map[uint16]*queue),
	}
}

// launch gives an instance its rules and queues. s.mu is held.
func (s *server) launch(id namespaces.ID, i *instance) error {
	c, err := i.prepare(s.files[i.rules])
	if err != nil {
		return err
	}
	c.commit()
	s.instances[id] = i
	s.managed.Store(id, i.name)
	s.setProcs()
	return nil
}

// setProcs adapts GOMAXPROCS to the number of queues. s.mu is held.
func (s *server) setProcs() {
	queues := 0
	for _, i := range s.instances {
		queues += len(i.queues)
	}
	// Setting it stops everything for a moment.
	if n := s.procs + min(queues, maxExtraProcs); n != runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
}

// serve waits for the signal to end, or for what must not end before.
func (s *server) serve(signals <-chan os.Signal) error {
	if !namespaces.CanInspectProcesses() {
		logrus.Warn("whose network namespace is which cannot be seen: 'self' and /proc/net/xt_recent lead others nowhere; give recentfs CAP_SYS_PTRACE")
	}
	watch := newWatch(s)
	defer watch.stop()
	unmounted := make(chan string, 2)
	for _, m := range []*fs.Mountpoint{s.mount, s.module} {
		go func() {
			m.Wait()
			unmounted <- m.Dir()
		}()
	}
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				logrus.Infof("%v: stopping", sig)
				return nil
			}
			if err := s.Reload(); err != nil {
				logrus.Errorf("reload: %v; the rules stay as they were", err)
			}
		case err := <-s.ended:
			return err
		case dir := <-unmounted:
			return fmt.Errorf("%s was unmounted by somebody else: stop recentfs by SIGTERM instead", dir)
		}
	}
}

// stop takes down what is up: queues, mounts, control socket, tables.
func (s *server) stop() error {
	if s.unwatch != nil {
		s.unwatch()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	var errs []error
	for _, i := range s.instances {
		errs = append(errs, i.unbindAll())
	}
	if s.cover != nil {
		errs = append(errs, procnet.Unmount())
	}
	for _, m := range []*fs.Mountpoint{s.module, s.mount} {
		if m == nil {
			continue
		}
		err := m.Unmount()
		if errors.Is(err, syscall.EBUSY) {
			logrus.Warn(err) // detached all the same, which is an end
			err = nil
		}
		errs = append(errs, err)
	}
	if s.control != nil {
		errs = append(errs, s.control.Close())
	}
	for _, i := range s.instances {
		errs = append(errs, i.exit())
	}
	if s.selection != nil {
		s.selection.Close()
	}
	return errors.Join(errs...)
}
