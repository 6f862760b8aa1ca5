package helper

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/fs"
	"recentfs/namespaces"
)

// do carries a request out. It fills in the answer, and returns the descriptors to give.
func (s *server) do(r *request, fds []int, a *answer) (give []int, err error) {
	if len(fds) > 1 || len(fds) == 1 && r.Do != attach && r.Do != queueSocket || len(fds) == 0 && r.Do == queueSocket {
		return nil, fmt.Errorf("%d descriptors are not what %q takes: %w", len(fds), r.Do, unix.EINVAL)
	}
	switch r.Do {
	case agree:
		if a.Yes = r.Want != nil && s.allowed.equals(r.Want); !a.Yes && !r.Again {
			s.end()
		}
	case find:
		a.Site, err = s.find(r.Dir)
	case attach, there, detach, take:
		a.Site = r.Site
		if err = s.checkSite(&a.Site); err == nil {
			give, err = s.doAt(r, fds, a)
		}
	case abandon:
		if r.Dir != "" && !slices.Contains(s.dirs, r.Dir) {
			return nil, s.otherDir(r.Dir)
		}
		if err = s.isOurs(r.Dev); err == nil {
			err = s.own.Abandon(r.Dev, r.Dir)
		}
	case cover, uncover, restoreCover, refreshCover:
		err = s.doCover(r, a)
	case present:
		a.Found, err = s.own.Present()
	case netnsOf:
		a.ID, err = s.own.NetnsOf(r.PID)
	case checkProcesses:
		err = s.own.CheckProcesses()
	case hold:
		give, err = duplicated(s.own.Hold(r.Found))
	case queueSocket:
		give, err = s.queueSocket(r.Found, fds[0])
	case open:
		give, err = duplicated(s.own.Open(r.File))
	default:
		err = fmt.Errorf("nobody knows how to do %q: are the daemon and the helper of one version? %w", r.Do, unix.EINVAL)
	}
	return give, err
}

// isOurs refuses a file system that is on none of the directories.
func (s *server) isOurs(dev uint64) error {
	for _, dir := range s.dirs {
		if there, err := s.own.There(&fs.Site{Dir: dir, Dev: dev}); there || err != nil {
			return err
		}
	}
	return fmt.Errorf("file system %d is not mounted on %s: %w", dev, strings.Join(s.dirs, " or "), unix.EPERM)
}

// queueSocket opens a socket in the namespace of a descriptor.
func (s *server) queueSocket(f namespaces.Found, held int) (give []int, err error) {
	fd, err := unix.FcntlInt(uintptr(held), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := file(fd, f.Path)
	defer file.Close()
	socket, err := s.own.QueueSocket(f, file)
	if err != nil {
		return nil, err
	}
	return socket.Files()
}

// duplicated is a copy of a file's descriptor, and closes the file.
func duplicated(f *os.File, err error) ([]int, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return []int{fd}, nil
}

func (s *server) doAt(r *request, fds []int, a *answer) (give []int, err error) {
	switch r.Do {
	case attach:
		if len(fds) == 1 {
			_, err = s.own.Attach(&a.Site, fds[0])
			return nil, err
		}
		fd, err := s.own.Attach(&a.Site, -1)
		if err != nil {
			return nil, err
		}
		return []int{fd}, nil
	case there:
		a.Yes, err = s.own.There(&a.Site)
	case detach:
		a.Yes, err = s.own.Detach(&a.Site, r.Ended)
	case take:
		err = s.own.Take(&a.Site)
	}
	return nil, err
}

func (s *server) doCover(r *request, a *answer) (err error) {
	s.covers.Lock()
	defer s.covers.Unlock()
	switch r.Do {
	case cover:
		err = s.own.Cover(r.GoesOn)
	case uncover:
		err = s.own.Uncover()
	case restoreCover:
		a.Yes, err = s.own.RestoreCover()
	case refreshCover:
		err = s.own.RefreshCover()
	}
	return err
}

// find finds one of the directories that are allowed. Whoever owns the one above might
// put a link in its place.
func (s *server) find(dir string) (fs.Site, error) {
	if !slices.Contains(s.dirs, filepath.Clean(dir)) {
		return fs.Site{}, s.otherDir(dir)
	}
	site, err := s.own.Find(dir)
	if err == nil && site.Dir != filepath.Clean(dir) {
		err = fmt.Errorf("mount point %s leads to %s: the helper follows no symbolic link: name it without, by --mountpoint", dir, site.Dir)
	}
	return site, err
}

func (s *server) otherDir(dir string) error {
	return fmt.Errorf("mount point %s: the helper mounts on %s only: give it the same --mountpoint: %w", dir, s.dirs[0], unix.EPERM)
}

// checkSite refuses a site of other directories than those that are allowed.
func (s *server) checkSite(site *fs.Site) error {
	if !slices.Contains(s.dirs, site.Dir) {
		return s.otherDir(site.Dir)
	}
	for _, created := range site.Created {
		if created != site.Dir && !strings.HasPrefix(site.Dir, created+"/") {
			return fmt.Errorf("mount point %s: %s is no directory above it: %w", site.Dir, created, unix.EPERM)
		}
	}
	return nil
}
