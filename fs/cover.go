package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	procNet       = "/proc/net"
	sysParameters = "/sys/module/xt_recent/parameters"
	// shelf is a directory of procfs that every kernel with terminals makes and
	// puts nothing into (proc_tty_init). What is mounted on it is in reach of every process that sees our /proc/net, in whatever
	// root directory, and out of the way of everything that cleans up.
	shelf = "/proc/tty/ldisc"
)

// Cover is a folder over /proc/net in which xt_recent and ipt_recent lead to
// the tables, and one over the parameters of the kernel's module, if it has
// one. All other entries of /proc/net lead to /proc/self/net, where they
// were before.
//
// The folder is of memory and needs no process behind it: whatever becomes of
// this one, the rest of /proc/net goes on.
type Cover struct{ module string }

// CoverProc covers /proc/net in the calling thread's mount namespace, and in
// all others to which its mounts propagate. module is a directory that
// MountModule has mounted. A cover that is there already is replaced: a dead
// recentfs has left it, or it came with the copy of the mounts that a mount
// namespace begins with. It needs CAP_SYS_ADMIN and Linux 5.2.
func CoverProc(module string) (*Cover, error) {
	c := &Cover{module: module}
	if err := Uncover(); err != nil {
		return nil, err
	}
	if err := c.put(); err != nil {
		return nil, errors.Join(err, Uncover())
	}
	return c, nil
}

// CoveredBy is the module's directory of another recentfs that is alive and has
// covered /proc/net, or empty. module is one's own.
func CoveredBy(module string) string {
	mounts, err := mountsOn(procNet)
	if err != nil || len(mounts) == 0 || mounts[0].Source != fsName {
		return ""
	}
	self, err := os.Readlink(filepath.Join(shelf, "net", "xt_recent"))
	if other := filepath.Dir(self); err == nil && other != module && IsLive(other) {
		return other
	}
	return ""
}

// put makes the folder and mounts it.
func (c *Cover) put() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(fsName, shelf, "tmpfs", flags, "mode=755,size=4m"); err != nil {
		next := "run as root (CAP_SYS_ADMIN)"
		if errors.Is(err, unix.ENOENT) {
			next = "this kernel has no such directory (CONFIG_TTY), so nothing can be put in its place"
		}
		return fmt.Errorf("mount on %s: %w: %s", shelf, err, next)
	}
	leavePlain()
	for _, dir := range []string{"net", parametersName} {
		if err := os.Mkdir(filepath.Join(shelf, dir), 0o755); err != nil {
			return err
		}
	}
	for _, file := range ParameterFiles() {
		if err := os.Symlink(filepath.Join(c.module, file), filepath.Join(shelf, file)); err != nil {
			return err
		}
	}
	for _, name := range []string{"xt_recent", "ipt_recent"} {
		if err := os.Symlink(filepath.Join(c.module, SelfName), filepath.Join(shelf, "net", name)); err != nil {
			return err
		}
	}
	if err := c.Refresh(); err != nil {
		return err
	}
	// Relative, as what it covers: self/net.
	link := filepath.Join(shelf, "link")
	if err := os.Symlink("tty/ldisc/net", link); err != nil {
		return err
	}
	if err := mountLink(link, procNet); err != nil {
		return err
	}
	if _, err := os.Stat(sysParameters); err == nil {
		if err := unix.Mount(filepath.Join(shelf, parametersName), sysParameters, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount on %s: %w", sysParameters, err)
		}
	}
	return nil
}

// leavePlain mounts a procfs and a sysfs that nothing covers, where nobody looks:
// the kernel lets a user namespace, as of a container without root, mount either
// only where there is one such (mnt_already_visible). Who may not mount them is
// in such a container itself, and has nobody to let.
func leavePlain() {
	for _, kind := range []string{"proc", "sysfs"} {
		dir := filepath.Join(shelf, "plain-"+kind)
		if os.Mkdir(dir, 0o700) == nil {
			_ = unix.Mount(fsName, dir, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}
	}
}

// mountLink mounts a symbolic link over another, which mount(2) cannot.
func mountLink(link, over string) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, link, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		defer unix.Close(fd)
		err = unix.MoveMount(fd, "", unix.AT_FDCWD, over, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%s: this kernel cannot mount over a symbolic link (open_tree, move_mount): Linux 5.2 or later is needed: %w", over, err)
	case err != nil:
		return fmt.Errorf("mount over %s: %w: run as root (CAP_SYS_ADMIN)", over, err)
	}
	return nil
}

// Refresh gives the folder the entries that /proc/net itself has now: modules
// of the kernel that are loaded later add to it.
func (c *Cover) Refresh() error {
	folder := filepath.Join(shelf, "net")
	have, err := names(folder)
	if err != nil {
		return err
	}
	want, err := names("/proc/thread-self/net")
	if err != nil {
		return err
	}
	for _, own := range []string{"xt_recent", "ipt_recent"} {
		delete(have, own)
		delete(want, own)
	}
	for name := range want {
		if have[name] {
			continue
		}
		// Relative to the folder, by way of procfs's root.
		if err := os.Symlink(filepath.Join("../../../self/net", name), filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	for name := range have {
		if want[name] {
			continue
		}
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

func names(dir string) (map[string]bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Readdirnames(-1)
	set := make(map[string]bool)
	for _, name := range list {
		set[name] = true
	}
	return set, err
}

// Uncover removes the covers of a recentfs, and is no error where there are none.
// Programs with their working directory in the folder keep it.
func Uncover() error {
	for _, dir := range []string{procNet, sysParameters, shelf} {
		for {
			mounts, err := mountsOn(dir)
			if err != nil {
				return err
			}
			if len(mounts) == 0 || mounts[0].FSType != "tmpfs" || mounts[0].Source != fsName {
				break
			}
			if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmount %s: %w: run as root", dir, err)
			}
		}
	}
	return nil
}

// IsLive tells whether a mount of a recentfs is on dir and answers.
func IsLive(dir string) bool {
	real, err := resolve(dir)
	if err != nil {
		return false
	}
	mounts, err := mountsOn(real)
	if err != nil || len(mounts) == 0 || mounts[0].FSType != fsType {
		return false
	}
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil
}
