package daemon

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/sirupsen/logrus"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/fs"
)

// serveControl makes the control socket, and answers once all tasks are ready.
func (s *Server) serveControl(ctx context.Context, ready func()) error {
	c, err := control.Listen(s.config.Control)
	if err != nil {
		return err
	}
	ready()
	select {
	case <-s.started:
	case <-ctx.Done():
		return c.Close()
	}
	served := make(chan error, 1)
	go func() { served <- c.Serve(s) }()
	select {
	case err := <-served:
		return errors.Join(err, c.Close())
	case <-ctx.Done():
		err := c.Close()
		return errors.Join(err, <-served)
	}
}

// showTables mounts the tables: those of this process's namespace at the root of
// the mount, or those of each namespace of Config.Netns in a folder.
func (s *Server) showTables(ctx context.Context, ready func()) (err error) {
	mounter := s.mounter(tablesMount)
	if len(s.config.Netns) == 0 {
		s.tables, s.root, err = mounter.Mount(s.config.Mountpoint)
	} else {
		s.tables, s.folders, err = mounter.MountNamespaces(s.config.Mountpoint, s.answers.pathOf)
	}
	if err != nil {
		return err
	}
	s.answers.dir = s.tables.Dir()
	return s.stayMounted(ctx, ready, tablesMount, s.tables)
}

// showModule mounts the module's parameters.
func (s *Server) showModule(ctx context.Context, ready func()) (err error) {
	s.module, err = s.mounter(moduleMount).MountModule(fs.ModuleDir(s.config.Mountpoint), fs.Module{
		Params: s.answers.module.Params, SetOwner: s.answers.setOwner, Self: s.answers.dirOf,
	})
	if err != nil {
		return err
	}
	if err := s.module.Answer(); err != nil {
		return errors.Join(err, s.module.Unmount())
	}
	return s.stayMounted(ctx, ready, moduleMount, s.module)
}

// mounter makes a mount, or goes on with that of the process before.
func (s *Server) mounter(name string) fs.Mounter {
	return fs.Mounter{Sites: s.host, Keep: s.outliving.kept, Left: asFiles(name, s.outliving.take(name))}
}

// stayMounted waits with a mount until ctx is done, and unmounts it, or leaves it to
// the next process. Meanwhile keepMounts restores it.
func (s *Server) stayMounted(ctx context.Context, ready func(), name string, m *fs.Mountpoint) error {
	if err := m.Anew(); err != nil {
		logrus.Warnf("%v: it is a new mount, and files that were open are dead", err)
	}
	if !s.outliving.holds || !m.GoesOn() {
		if err := s.storeMount(name, m); err != nil {
			return errors.Join(err, m.Unmount())
		}
	}
	if text := hiddenFiles(m); text != "" {
		logrus.Warnf("%s: %s", m.Dir(), text)
	}
	ready()
	<-ctx.Done()
	if s.leaving {
		return s.leaveMount(name, m)
	}
	s.outliving.drop(name)
	err := m.Unmount()
	if errors.Is(err, syscall.EBUSY) {
		logrus.Warn(err) // it is detached all the same
		return nil
	}
	return err
}

// storeMount has the holder keep the mount.
func (s *Server) storeMount(name string, m *fs.Mountpoint) error {
	if !s.outliving.kept {
		return nil
	}
	return withFiles(m, func(fds []int) error { s.outliving.store(name, fds); return nil })
}

// withFiles calls do with the descriptors that the next process needs of a mount.
func withFiles(m *fs.Mountpoint, do func([]int) error) error {
	files, err := m.Files()
	if err != nil {
		return err
	}
	var fds []int
	for _, f := range files {
		defer f.Close()
		fds = append(fds, int(f.Fd()))
	}
	return do(fds)
}

// leaveMount leaves a mount to the next process.
func (s *Server) leaveMount(name string, m *fs.Mountpoint) error {
	if err := m.Leave(); err != nil {
		logrus.Warn(err) // what is not answered yet is asked again
	}
	return withFiles(m, func(fds []int) error { return s.outliving.give(name, fds) })
}

// hiddenFiles says which plain files a mount hides, or nothing.
func hiddenFiles(m *fs.Mountpoint) string {
	if names := m.Hidden(); len(names) > 0 {
		return fmt.Sprintf("the directory under the mount holds plain files, %q: it seems that writers made them while no recentfs was mounted there; remove them when recentfs is stopped", names)
	}
	return ""
}

// coverProcNet puts the module's links and parameters in the place of the
// kernel's, if Config.ProcNet says so. If it does not, a recentfs that was killed may
// have left some, which would lead to our tables.
func (s *Server) coverProcNet(ctx context.Context, ready func()) (err error) {
	if s.config.ProcNet {
		if err := s.host.Cover(s.goesOn); err != nil {
			return fmt.Errorf("--proc-net: %w", err)
		}
	} else if err := s.host.Uncover(); err != nil {
		return err
	}
	ready()
	<-ctx.Done()
	if !s.config.ProcNet || s.leaving {
		return nil
	}
	return s.host.Uncover()
}
