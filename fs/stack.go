package fs

import (
	"errors"
	"fmt"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountsOn are the mounts on a directory, the uppermost first, in the calling
// thread's mount namespace. mountinfo needs no answer from any file system.
func mountsOn(dir string) ([]*mountinfo.Info, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != dir, false })
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
func (m *Mountpoint) is(mount *mountinfo.Info) bool {
	return unix.Mkdev(uint32(mount.Major), uint32(mount.Minor)) == m.dev
}

// isDead tells whether the uppermost mount on a directory is of a recentfs that
// has ended. One that is alive is an error.
func isDead(dir string, mounts []*mountinfo.Info) (bool, error) {
	if len(mounts) == 0 || mounts[0].FSType != fsType {
		return false, nil
	}
	// The kernel may answer stat from memory. This always asks the process that
	// serves the mount.
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); !errors.Is(err, unix.ENOTCONN) {
		return false, fmt.Errorf("mount point %s: another recentfs is mounted there: stop it, or choose another mount point", dir)
	}
	return true, nil
}

// keepOneDead detaches the mounts that killed recentfs processes have left on dir,
// but for one. It returns whether that one is there. The one stays until a new
// mount covers it: a write to a dead mount fails, while a write to the directory
// under it makes a plain file.
func keepOneDead(dir string) (dead bool, err error) {
	for {
		mounts, err := mountsOn(dir)
		if err != nil {
			return false, fmt.Errorf("mount point %s: %w", dir, err)
		}
		dead, err := isDead(dir, mounts)
		if err != nil || !dead {
			return false, err
		}
		if len(mounts) < 2 || mounts[1].FSType != fsType {
			return true, nil
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return false, fmt.Errorf("mount point %s: detaching the dead mount there: %w: run as root", dir, err)
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
func (m *Mountpoint) detachDeadBelow() error {
	mounts, err := mountsOn(m.dir)
	if err != nil || len(mounts) < 2 || mounts[1].FSType != fsType {
		return err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, m.dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil // before Linux 5.2
	}
	defer unix.Close(tree)
	if err := unix.Unmount(m.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("mount point %s: replacing the dead mount there: %w", m.dir, err)
	}
	if unix.MoveMount(tree, "", unix.AT_FDCWD, m.dir, unix.MOVE_MOUNT_F_EMPTY_PATH|moveMountBeneath) == nil {
		err = unix.Unmount(m.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	} else {
		err = unix.MoveMount(tree, "", unix.AT_FDCWD, m.dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return fmt.Errorf("mount point %s: replacing the dead mount there: %w", m.dir, err)
	}
	return nil
}

// detachDead detaches a dead mount that ours has covered until now.
func (m *Mountpoint) detachDead() {
	for {
		mounts, err := mountsOn(m.dir)
		if err != nil || len(mounts) == 0 || m.is(mounts[0]) {
			return
		}
		if dead, _ := isDead(m.dir, mounts); !dead {
			return
		}
		if unix.Unmount(m.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) != nil {
			return
		}
	}
}
