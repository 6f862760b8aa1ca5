package tables

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"

	"recentfs/fs/mountlist"
)

// checkDir returns the ID of an open directory's mount, if that is one of recentfs
// or if the directory is the module's own. It looks at the descriptor, so that
// nobody can put another directory in its place. It does not use fstatfs, which
// does not tell recentfs from other FUSE file systems.
func checkDir(fd int) (mount string, err error) {
	if mount, err = mountID(fd); err != nil {
		return "", err
	}
	mounts, err := mountlist.Get(func(m *mountinfo.Info) (skip, stop bool) {
		here := fmt.Sprint(m.ID) == mount
		return !here, here
	})
	if err != nil {
		return "", err
	}
	if len(mounts) == 0 {
		return "", errors.New("this mount is unmounted")
	}
	if m := mounts[0]; m.FSType != "fuse.recentfs" && (m.FSType != "proc" || !isModule(fd, m)) {
		return "", fmt.Errorf("this is no mount of recentfs, but a directory in a file system of type %s", m.FSType)
	}
	return mount, nil
}

// isModule reports whether a directory of procfs is the one of xt_recent, or of
// ipt_recent, as the module was called before. procfs has it for each process.
func isModule(fd int, m *mountinfo.Info) bool {
	dir, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return false
	}
	// The path in procfs itself, wherever a part of it is mounted.
	dir = path.Join(m.Root, strings.TrimPrefix(dir, m.Mountpoint))
	net, name := path.Split(dir)
	return path.Base(net) == "net" && (name == "xt_recent" || name == "ipt_recent")
}

// mountID returns the ID of an open file's mount, as mountinfo has it.
func mountID(fd int) (string, error) {
	// statx tells it without /proc, but only since Linux 5.8.
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(info) {
		if id, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return string(bytes.TrimSpace(id)), nil
		}
	}
	return "", fmt.Errorf("/proc/self/fdinfo/%d has no mnt_id", fd)
}
