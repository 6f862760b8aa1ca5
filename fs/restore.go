package fs

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Restore mounts again what somebody else has unmounted, and tells whether it had
// to. The files, their nodes and their attributes are the same as before. It must
// not be called at the same time as Unmount, and not after it.
//
// A plain umount of a mount that nobody uses ends the connection. Then there is a
// new one. umount -l of a mount in use does not: what is open on it, and copies of
// it in other mount namespaces, go on to work, and the mount that Restore makes is
// of the same file system. umount -f ends the connection and all that is open.
//
// Something that was mounted over ours unmounts nothing.
func (m *Mountpoint) Restore() (restored bool, err error) {
	if there, err := m.isThere(); err != nil || there {
		return false, err
	}
	switch site, err := m.sites.Find(m.site.Dir); {
	case err != nil:
		return false, err
	case site.Dir != m.site.Dir:
		return false, fmt.Errorf("mount point %s: the path leads to %s by now: remove that link", m.site.Dir, site.Dir)
	default:
		m.site.Created = append(site.Created, m.site.Created...)
	}
	if err := m.mount(); err != nil {
		return false, err
	}
	return true, nil
}

// isThere tells whether the mount is on its directory and answers.
func (m *Mountpoint) isThere() (bool, error) {
	if isClosed(m.conn.Ended()) {
		return false, nil
	}
	return m.sites.There(&m.site)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// mountAgain mounts the connection that there is, and tells whether there is one.
func (m *Mountpoint) mountAgain() (bool, error) {
	if m.conn == nil {
		return false, nil
	}
	fd, err := m.conn.Device()
	if errors.Is(err, unix.EBADF) {
		return false, nil // it has ended
	}
	if err != nil {
		return false, fmt.Errorf("mount point %s: %w", m.site.Dir, err)
	}
	defer unix.Close(fd)
	if _, err = m.sites.Attach(&m.site, fd); err == nil {
		return true, nil
	}
	select {
	case <-m.conn.Ended(): // now, or it had before
		return false, nil
	case <-time.After(copiesWait):
	}
	if errors.Is(err, unix.EINVAL) {
		return false, fmt.Errorf("mount point %s: mount: %w: before Linux 5.15 it comes back when its open files are closed", m.site.Dir, unix.EINVAL)
	}
	return false, err
}
