package fs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/fs/mountlist"
)

// Site is a directory that a file system is mounted on, and what there is to know of
// it. It can be sent to another process: see Sites.
type Site struct {
	Dir     string   // absolute, without symbolic links
	Created []string // the directories that were created for it, innermost first
	Dead    int      // the ID of the dead mount that it covers, or 0
	Hidden  []string // the plain files in the directory under it
	Dev     uint64   // the mounted file system's st_dev
}

// Sites mounts and unmounts, which needs CAP_SYS_ADMIN, in the mount namespace where
// others look for the tables. OwnSites does so in this process. A process without the
// capability, or in a mount namespace of its own, asks one that has it.
type Sites interface {
	// Find finds the directory of a site, or makes it.
	Find(dir string) (Site, error)
	// Attach mounts a connection, of which it gets a descriptor of the device. If that
	// is negative, it opens the device. It returns the descriptor.
	Attach(s *Site, fd int) (int, error)
	// There tells whether the file system is mounted on the directory. Others may be
	// over it, there or above.
	There(s *Site) (bool, error)
	// Detach unmounts the file system, whose connection may have ended, and removes the
	// directories that were created for it. It tells whether it has unmounted it. Where
	// the mount is in use, it is detached from its directory, and the error is EBUSY.
	Detach(s *Site, ended bool) (unmounted bool, err error)
	// Take takes away what Attach has mounted, since nobody will answer on it.
	Take(s *Site) error
	// Abandon ends the connection of the file system of that st_dev, which nobody will
	// serve, so that nobody waits for it. What is mounted on dir stays there, dead, until
	// another mount takes its place.
	Abandon(dev uint64, dir string) error
}

// OwnSites are sites in the mount namespace of this process.
type OwnSites struct{}

// Find implements Sites.
func (OwnSites) Find(dir string) (s Site, err error) {
	if s.Dir, err = s.find(dir); err != nil {
		s.removeCreated()
	}
	return s, err
}

// Attach implements Sites. No other recentfs starts on the directory meanwhile.
func (OwnSites) Attach(s *Site, fd int) (int, error) {
	isNew := fd < 0
	mounted, err := s.attach(&fd)
	if err == nil {
		return fd, nil
	}
	if mounted { // after the lock: this needs a descriptor, and there may be no other
		err = errors.Join(err, s.take())
	}
	if isNew && fd >= 0 {
		unix.Close(fd)
	}
	return -1, err
}

func (s *Site) attach(fd *int) (mounted bool, err error) {
	defer lockMounts(s.Dir)()
	if err := s.lookUnder(); err != nil {
		return false, err
	}
	if *fd < 0 {
		if *fd, err = device.Open(); err != nil {
			return false, err
		}
	}
	if err := s.mount(*fd); err != nil {
		return false, err
	}
	return true, s.detachDeadBelow()
}

// mount mounts the connection of a descriptor of the device, over whatever is there.
func (s *Site) mount(fd int) error {
	// By a descriptor: whoever owns the directory above may put a link in the place of
	// this one at any time.
	dir, err := openDir(s.Dir)
	if err != nil {
		return s.mountError(err)
	}
	err = device.Mount(fd, fmt.Sprintf("/proc/thread-self/fd/%d", dir), fsName, fsType)
	unix.Close(dir)
	if err != nil {
		return s.mountError(err)
	}
	mounts, err := mountsOn(s.Dir)
	if err == nil && len(mounts) == 0 {
		err = errors.New("somebody else unmounted it at once: try again")
	}
	if err != nil {
		_ = unix.Unmount(s.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // it may not be there
		return fmt.Errorf("mount point %s: %w", s.Dir, err)
	}
	s.Dev = unix.Mkdev(uint32(mounts[0].Major), uint32(mounts[0].Minor))
	return nil
}

// There implements Sites.
func (OwnSites) There(s *Site) (bool, error) {
	there := false
	_, err := mountlist.Get(func(m *mountinfo.Info) (skip, stop bool) {
		there = there || m.Mountpoint == s.Dir && s.is(m)
		return true, there
	})
	if err != nil {
		return false, fmt.Errorf("mount point %s: %w", s.Dir, err)
	}
	return there, nil
}

// Detach implements Sites.
func (OwnSites) Detach(s *Site, ended bool) (unmounted bool, err error) {
	if ended {
		// umount -f and others end the connection and may leave the mount, dead.
		if mounts, err := mountsOn(s.Dir); err == nil && len(mounts) > 0 && s.is(mounts[0]) {
			s.Dead = mounts[0].ID // if it is dead: see detachDead
		}
	} else {
		unmounted, err = s.unmount()
	}
	s.detachDead()
	s.removeCreated()
	return unmounted, err
}

func (s *Site) unmount() (unmounted bool, err error) {
	mounts, err := mountsOn(s.Dir)
	if err != nil {
		return false, fmt.Errorf("unmounting %s: %w", s.Dir, err)
	}
	if len(mounts) == 0 {
		return false, nil // someone else detached it, and it is still in use
	}
	if top := mounts[0]; !s.is(top) {
		return false, fmt.Errorf("unmounting %s: %s is mounted over it: umount that first", s.Dir, top.FSType)
	}
	err = unix.Unmount(s.Dir, unix.UMOUNT_NOFOLLOW)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EBUSY):
		if lazy := unix.Unmount(s.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); lazy != nil {
			return false, fmt.Errorf("detaching %s: %w", s.Dir, lazy)
		}
		return false, fmt.Errorf("mount point %s is in use: it was detached, and its open files work until this process ends: %w", s.Dir, err)
	}
	return false, fmt.Errorf("unmounting %s: %w", s.Dir, err)
}

// Take implements Sites.
func (OwnSites) Take(s *Site) error { return s.take() }

func (s *Site) take() error {
	mounts, err := mountsOn(s.Dir)
	if err != nil || len(mounts) == 0 || !s.is(mounts[0]) {
		return err
	}
	if err := unix.Unmount(s.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting %s: %w", s.Dir, err)
	}
	return nil
}

// Abandon implements Sites.
func (OwnSites) Abandon(dev uint64, dir string) error {
	if dev == 0 {
		return nil
	}
	ours := Site{Dev: dev}
	mounts, err := mountlist.Get(func(m *mountinfo.Info) (skip, stop bool) { return m.FSType != fsType || !ours.is(m), false })
	if err != nil {
		return err
	}
	for _, m := range mounts {
		// While this is open, the mount is busy, and only its connection ends.
		fd, err := unix.Open(m.Mountpoint, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Mountpoint, err)
		}
		err = unix.Unmount(m.Mountpoint, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW)
		unix.Close(fd)
		if real, _ := resolve(dir); m.Mountpoint != real && (err == nil || errors.Is(err, unix.EBUSY)) {
			err = unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmounting %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// openDir opens a directory whose path has no symbolic link, or what is mounted there,
// which is not asked. Not openat2: a service with RestrictSUIDSGID= does not have it.
func openDir(dir string) (fd int, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err = unix.Open("/", flags, 0)
	for name := range strings.SplitSeq(strings.TrimPrefix(dir, "/"), "/") {
		if err != nil {
			return -1, err
		}
		above := fd
		fd, err = unix.Openat(above, name, flags, 0)
		unix.Close(above)
	}
	return fd, err
}

// Abort ends the connection of the recentfs that is mounted on dir, as the last resort: a
// process with a thread that waits for its own mount cannot be killed. It asks nothing of
// the mount.
func Abort(dir string) error {
	real, err := resolve(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount point %s: %w", dir, err)
	}
	mounts, err := mountsOn(real)
	if err != nil || len(mounts) == 0 || mounts[0].FSType != fsType {
		return err
	}
	return OwnSites{}.Abandon(unix.Mkdev(uint32(mounts[0].Major), uint32(mounts[0].Minor)), dir)
}

// removeCreated removes the directories that find created, unless something else is in
// them by now.
func (s *Site) removeCreated() {
	for _, dir := range s.Created {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return
		}
	}
}

// mountError says what to do about a mount(2) that failed.
func (s *Site) mountError(err error) error {
	next := "choose another directory"
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		next = "run as root (CAP_SYS_ADMIN)"
	case errors.Is(err, unix.ENODEV):
		next = "this kernel has no FUSE: load its module (modprobe fuse)"
	}
	return fmt.Errorf("mount point %s: mount: %w: %s", s.Dir, err, next)
}
