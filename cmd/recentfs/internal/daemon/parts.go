package daemon

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/sirupsen/logrus"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/fs"
	"recentfs/fs/procnet"
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
	if len(s.config.Netns) == 0 {
		s.tables, s.root, err = fs.Mount(s.config.Mountpoint)
	} else {
		s.tables, s.folders, err = fs.MountNamespaces(s.config.Mountpoint, s.answers.pathOf)
	}
	if err != nil {
		return err
	}
	s.answers.dir = s.tables.Dir()
	return stayMounted(ctx, ready, s.tables)
}

// showModule mounts the module's parameters.
func (s *Server) showModule(ctx context.Context, ready func()) (err error) {
	s.module, err = fs.MountModule(fs.ModuleDir(s.config.Mountpoint), fs.Module{
		Params: s.answers.module.Params, SetOwner: s.answers.setOwner, Self: s.answers.dirOf,
	})
	if err != nil {
		return err
	}
	return stayMounted(ctx, ready, s.module)
}

// stayMounted waits with a mount until ctx is done, and unmounts it. Meanwhile
// keepMounts restores it.
func stayMounted(ctx context.Context, ready func(), m *fs.Mountpoint) error {
	if text := hiddenFiles(m); text != "" {
		logrus.Warnf("%s: %s", m.Dir(), text)
	}
	ready()
	<-ctx.Done()
	err := m.Unmount()
	if errors.Is(err, syscall.EBUSY) {
		logrus.Warn(err) // it is detached all the same
		return nil
	}
	return err
}

// hiddenFiles says which plain files a mount hides, or nothing.
func hiddenFiles(m *fs.Mountpoint) string {
	if names := m.Hidden(); len(names) > 0 {
		return fmt.Sprintf("the directory under the mount holds plain files, %q: it seems that writers made them while no recentfs was mounted there; remove them when recentfs is stopped", names)
	}
	return ""
}

// coverProcNet puts the module's links and parameters in the place of the
// kernel's, if Config.ProcNet says so.
func (s *Server) coverProcNet(ctx context.Context, ready func()) (err error) {
	other := procnet.Module()
	if other == s.module.Dir() || !fs.IsLive(other) {
		other = ""
	}
	if s.config.ProcNet {
		if other != "" {
			return fmt.Errorf("--proc-net: another recentfs, which serves %s, has taken /proc/net: stop that first", other)
		}
		if s.cover, err = procnet.Mount(fs.ModuleFiles(s.module.Dir())); err != nil {
			return fmt.Errorf("--proc-net: %w", err)
		}
	} else if other == "" {
		// A recentfs that was killed may have left one, which would lead to our
		// tables.
		if err := procnet.Unmount(); err != nil {
			return err
		}
	}
	ready()
	<-ctx.Done()
	if s.cover == nil {
		return nil
	}
	return procnet.Unmount()
}
