// Package procnet leads the files of the kernel's module to a recentfs: the
// directories xt_recent and ipt_recent of /proc/net, and the parameters in
// /sys/module/xt_recent.
//
// It covers /proc/net, a symbolic link to self/net, with another symbolic link,
// to a directory of its own. There xt_recent and ipt_recent lead to the tables,
// and all other entries lead to self/net, as before. That directory is on a
// tmpfs and needs no process: whatever becomes of recentfs, the rest of /proc/net
// works.
package procnet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/fs/mountlist"
)

const (
	source        = "recentfs" // of our mounts, in mountinfo
	procNet       = "/proc/net"
	sysParameters = "/sys/module/xt_recent/parameters"
	// tmpfsDir is the directory of procfs that our tmpfs is mounted on. Every
	// kernel with terminals makes it and leaves it empty (proc_tty_init). Every
	// process that sees our /proc/net sees it too, whatever its root directory
	// is, and no cleaner of temporary files comes there.
	tmpfsDir      = "/proc/tty/ldisc"
	netDir        = tmpfsDir + "/net"        // covers /proc/net
	parametersDir = tmpfsDir + "/parameters" // covers sysParameters
)

// Cover is what covers /proc/net.
type Cover struct {
	tables     string
	parameters []string

	mu      sync.Mutex
	mounted []string // guarded by mu: the paths that are covered
}

// Mount covers /proc/net in the calling thread's mount namespace, and in all
// others to which its mounts propagate. Where the kernel has the module, it covers
// the module's parameters too.
//
// tables is the path that xt_recent leads to. parameters are the paths of the
// files that the module's parameters lead to. A cover that is there already is
// replaced: a dead recentfs has left it, or it came with the copy of the mounts
// that a mount namespace begins with. Mount needs CAP_SYS_ADMIN and Linux 5.2.
func Mount(tables string, parameters []string) (*Cover, error) {
	c := &Cover{tables: tables, parameters: parameters}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.replace(); err != nil {
		return nil, err
	}
	return c, nil
}

// replace mounts the cover in the place of one that is there. c.mu is held.
func (c *Cover) replace() error {
	c.mounted = nil
	if err := Unmount(); err != nil {
		return err
	}
	if err := c.mount(); err != nil {
		c.mounted = nil
		return errors.Join(err, Unmount())
	}
	return nil
}

// Module is the directory of the module (fs.MountModule) that a cover of /proc/net
// leads to, or empty where there is no cover.
func Module() string {
	if ours, err := isCover(procNet); err != nil || !ours {
		return ""
	}
	tables, err := os.Readlink(filepath.Join(netDir, "xt_recent"))
	if err != nil {
		return ""
	}
	return filepath.Dir(tables)
}

// mount makes the directories and mounts them. c.mu is held.
func (c *Cover) mount() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(source, tmpfsDir, "tmpfs", flags, "mode=755,size=4m"); err != nil {
		next := "run as root (CAP_SYS_ADMIN)"
		if errors.Is(err, unix.ENOENT) {
			next = "this kernel has no such directory (CONFIG_TTY), so /proc/net cannot be covered"
		}
		return fmt.Errorf("mount on %s: %w: %s", tmpfsDir, err, next)
	}
	mountUncovered()
	if err := c.fill(); err != nil {
		return err
	}
	// Relative, as the link that it covers: self/net.
	link := filepath.Join(tmpfsDir, "link")
	if err := os.Symlink("tty/ldisc/net", link); err != nil {
		return err
	}
	if err := mountLink(link, procNet); err != nil {
		return err
	}
	c.mounted = []string{tmpfsDir, procNet}
	if _, err := os.Stat(sysParameters); err == nil {
		if err := unix.Mount(parametersDir, sysParameters, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount on %s: %w", sysParameters, err)
		}
		c.mounted = append(c.mounted, sysParameters)
	}
	return nil
}

// fill makes the directories and their links.
func (c *Cover) fill() error {
	for _, dir := range []string{netDir, parametersDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, file := range c.parameters {
		if err := os.Symlink(file, filepath.Join(parametersDir, filepath.Base(file))); err != nil {
			return err
		}
	}
	for _, name := range []string{"xt_recent", "ipt_recent"} {
		if err := os.Symlink(c.tables, filepath.Join(netDir, name)); err != nil {
			return err
		}
	}
	return c.refresh()
}

// mountUncovered mounts a procfs and a sysfs that nothing covers, out of sight.
// The kernel lets a user namespace, as of a container without root, mount either
// only where there is such a mount (mnt_already_visible). An error is ignored:
// we are then in such a container ourselves, and nobody inside needs them.
func mountUncovered() {
	for _, kind := range []string{"proc", "sysfs"} {
		dir := filepath.Join(tmpfsDir, "uncovered-"+kind)
		if os.Mkdir(dir, 0o700) == nil {
			_ = unix.Mount(source, dir, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
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

// Refresh gives the directory the entries that /proc/net itself has now: modules
// of the kernel that are loaded later add to it. It does nothing where Restore could
// not mount the cover.
func (c *Cover) Refresh() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mounted) == 0 {
		return nil
	}
	return c.refresh()
}

func (c *Cover) refresh() error {
	have, err := names(netDir)
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
		// Relative to netDir, by way of procfs's root.
		if err := os.Symlink(filepath.Join("../../../self/net", name), filepath.Join(netDir, name)); err != nil {
			return err
		}
	}
	for name := range have {
		if want[name] {
			continue
		}
		if err := os.Remove(filepath.Join(netDir, name)); err != nil {
			return err
		}
	}
	return nil
}

// names are the entries of a directory.
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

// Unmount removes the covers of a recentfs. It is no error where there are none.
// Programs with their working directory in the covers keep it.
func Unmount() error {
	for _, dir := range []string{procNet, sysParameters, tmpfsDir} {
		for {
			ours, err := isCover(dir)
			if err != nil {
				return err
			}
			if !ours {
				break
			}
			if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return fmt.Errorf("unmount %s: %w: run as root", dir, err)
			}
		}
	}
	return nil
}

// isCover tells whether the uppermost mount on a path is of a cover.
func isCover(path string) (bool, error) {
	top, err := topMount(path)
	return top != nil && isOurs(top), err
}

// isOurs tells whether a mount is a part of a cover.
func isOurs(m *mountinfo.Info) bool { return m.FSType == "tmpfs" && m.Source == source }

// topMount is the uppermost mount on a path in the calling thread's mount
// namespace, or nil. It is the one of the last line, since nobody puts mounts
// beneath others here.
func topMount(path string) (*mountinfo.Info, error) {
	mounts, err := mountlist.Get(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != path, false })
	if err != nil || len(mounts) == 0 {
		return nil, err
	}
	return mounts[len(mounts)-1], nil
}
