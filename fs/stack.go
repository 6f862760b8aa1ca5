package fs

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/fs/mountlist"
)

// mountsOn are the mounts on a directory, the uppermost first, in the calling
// thread's mount namespace. mountinfo needs no answer from any file system.
func mountsOn(dir string) ([]*mountinfo.Info, error) {
	mounts, err := mountlist.Get(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != dir, false })
	return stacked(mounts), err
}

// stacked orders mounts on one directory, the uppermost first. Each is mounted
// on its parent. Neither the order of the lines nor that of the IDs tells, since
// a mount can be put beneath an older one.
func stacked(mounts []*mountinfo.Info) (stack []*mountinfo.Info) {
	byID, isParent := make(map[int]*mountinfo.Info), make(map[int]bool)
	for _, m := range mounts {
		byID[m.ID] = m
		if m.Parent != m.ID { // as the root's may be
			isParent[m.Parent] = true
		}
	}
	var top *mountinfo.Info
	for _, m := range mounts {
		if !isParent[m.ID] {
			top = m // the last one: the others are out of reach, under a mount on a directory above
		}
	}
	for m := top; m != nil; m = byID[m.Parent] {
		delete(byID, m.ID)
		stack = append(stack, m)
	}
	return stack
}

// is tells whether a mount is ours, or a copy of it.
func (s *Site) is(m *mountinfo.Info) bool {
	return unix.Mkdev(uint32(m.Major), uint32(m.Minor)) == s.Dev
}

// errOther says that another recentfs serves dir.
func errOther(dir string) error {
	return fmt.Errorf("mount point %s: another recentfs is mounted there: stop it, or choose another mount point", dir)
}

// isDead tells whether the uppermost mount on a directory is of a recentfs that
// has ended. One that is alive is an error.
func isDead(dir string, mounts []*mountinfo.Info) (bool, error) {
	if len(mounts) == 0 || mounts[0].FSType != fsType {
		return false, nil
	}
	switch err := ask(dir); {
	case errors.Is(err, unix.ENOTCONN):
		return true, nil
	case errors.Is(err, errNoAnswer):
		return false, fmt.Errorf("mount point %s: another recentfs is mounted there and does not answer: kill it, or let it continue if it is stopped (SIGCONT), or choose another mount point", dir)
	}
	return false, errOther(dir)
}

var errNoAnswer = errors.New("no answer")

// answerWait is how long ask waits.
const answerWait = 2 * time.Second

// ask has the process that serves a mount answer, which it cannot where it is
// stopped. Then the thread that asks stays until that process continues or ends,
// or until ours ends.
func ask(dir string) error {
	answer := make(chan error, 1)
	go func() {
		// The kernel may answer stat from memory. This always asks the process.
		var st unix.Statfs_t
		answer <- unix.Statfs(dir, &st)
	}()
	select {
	case err := <-answer:
		return err
	case <-time.After(answerWait):
		return errNoAnswer
	}
}

// IsLive tells whether a mount of a recentfs is on dir whose process has not ended.
func IsLive(dir string) bool {
	real, err := resolve(dir)
	if err != nil {
		return false
	}
	mounts, err := mountsOn(real)
	if err != nil {
		return false
	}
	_, err = isDead(real, mounts)
	return err != nil
}

// lockWait is how long lockMounts waits. Another recentfs that holds the lock may
// be waiting for an answer.
const lockWait = 2 * answerWait

// lockMounts waits until no other recentfs looks at the mounts on dir and changes
// them, and keeps others away until unlock. The lock is on the directory above,
// since a dead mount cannot be opened. Any user may hold that lock, and must not
// stop a start: after lockWait we go on without it, and detachDeadBelow notices
// another that did so too.
func lockMounts(dir string) (unlock func()) {
	fd, err := unix.Open(filepath.Dir(dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	for start := time.Now(); time.Since(start) < lockWait; time.Sleep(10 * time.Millisecond) {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			break // we hold it, or this file system has no locks
		}
	}
	return func() { unix.Close(fd) }
}

// keepOneDead detaches the mounts that killed recentfs processes have left on dir,
// but for one. It returns the ID of that one, or 0 where there is none. The one
// stays until a new mount covers it: a write to a dead mount fails, while a write
// to the directory under it makes a plain file.
func keepOneDead(dir string) (id int, err error) {
	for {
		mounts, err := mountsOn(dir)
		if err != nil {
			return 0, fmt.Errorf("mount point %s: %w", dir, err)
		}
		dead, err := isDead(dir, mounts)
		if err != nil || !dead {
			return 0, err
		}
		if len(mounts) < 2 || mounts[1].FSType != fsType {
			return mounts[0].ID, nil
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return 0, fmt.Errorf("mount point %s: detaching the dead mount there: %w: run as root", dir, err)
		}
	}
}

// moveMountBeneath is MOVE_MOUNT_BENEATH of include/uapi/linux/mount.h.
const moveMountBeneath = 0x200

// detachDeadBelow detaches the dead mount that ours covers. umount2(2) reaches only
// the uppermost mount. So a copy of ours goes beneath the dead one, which is then
// the uppermost. There is a mount on the directory all the time.
//
// Kernels before Linux 6.5 cannot put a mount beneath another. There the dead
// one stays until Unmount. There is never more than one, see keepOneDead.
//
// Another recentfs may have mounted since keepOneDead, where lockMounts did not
// keep it away. The lower one of both stays, since the upper one always sees it.
func (s *Site) detachDeadBelow() error {
	mounts, err := mountsOn(s.Dir)
	if err != nil {
		return fmt.Errorf("mount point %s: %w", s.Dir, err)
	}
	if len(mounts) < 2 || !s.is(mounts[0]) || mounts[1].FSType != fsType {
		return nil
	}
	if mounts[1].ID != s.Dead {
		return errOther(s.Dir)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, s.Dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return nil // before Linux 5.2
	}
	defer unix.Close(tree)
	if err := unix.Unmount(s.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("mount point %s: replacing the dead mount there: %w", s.Dir, err)
	}
	if unix.MoveMount(tree, "", unix.AT_FDCWD, s.Dir, unix.MOVE_MOUNT_F_EMPTY_PATH|moveMountBeneath) == nil {
		if err = unix.Unmount(s.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err == nil {
			s.Dead = 0
		}
	} else {
		err = unix.MoveMount(tree, "", unix.AT_FDCWD, s.Dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return fmt.Errorf("mount point %s: replacing the dead mount there: %w", s.Dir, err)
	}
	return nil
}

// detachDead detaches a dead mount that ours has covered until now.
func (s *Site) detachDead() {
	if s.Dead == 0 {
		return
	}
	defer lockMounts(s.Dir)()
	mounts, err := mountsOn(s.Dir)
	if err != nil || len(mounts) == 0 || mounts[0].ID != s.Dead {
		return
	}
	if dead, _ := isDead(s.Dir, mounts); dead && unix.Unmount(s.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
		s.Dead = 0
	}
}
