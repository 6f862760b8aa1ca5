package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// shm is a directory in memory that each machine has. Any user may write there.
const shm = "/dev/shm"

// LockLive locks a directory in memory for the tables of a program whose runtime
// directory that is. It is in the runtime directory, or in shm if that one is on a
// disk: there, packets would wait whenever a page is written back.
func LockLive(runtime string, warn func(string)) (dir string, unlock func(), err error) {
	for above := runtime; ; above = filepath.Dir(above) {
		switch memory, err := inMemory(above); {
		case err == nil && memory:
			dir = filepath.Join(runtime, "live")
			unlock, err = lock(dir, runtime)
			return dir, unlock, err
		case !errors.Is(err, unix.ENOENT) || above == filepath.Dir(above):
			return lockIn(shm, runtime, warn)
		}
	}
}

// lockIn locks a directory in a directory where any user may write. Another user may
// have made one of the name that is tried first. Then it has a name that nobody can
// know before, and a link in the runtime directory leads to it.
func lockIn(memory, runtime string, warn func(string)) (dir string, unlock func(), err error) {
	link := filepath.Join(runtime, "live")
	if dir, err = os.Readlink(link); err != nil || filepath.Dir(dir) != memory {
		dir = filepath.Join(memory, "recentfs"+strings.ReplaceAll(runtime, "/", "-"))
	}
	unlock, err = lock(dir, runtime)
	if errors.Is(err, errNotOurs) {
		warn(fmt.Sprintf("state: %v: the tables have another directory", err))
		if dir, err = makeLinked(memory, link); err == nil {
			unlock, err = lock(dir, runtime)
		}
	}
	if err != nil {
		return "", nil, err
	}
	if ok, err := inMemory(dir); err == nil && !ok {
		warn(fmt.Sprintf("state: %s is not on a tmpfs: packets may wait for a disk, and tables be damaged by a crash: mount a tmpfs at %s", dir, memory))
	}
	return dir, unlock, nil
}

// makeLinked makes a directory in memory, and a link to it.
func makeLinked(memory, link string) (dir string, err error) {
	if err := makeAbove(link); err != nil {
		return "", err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if dir, err = os.MkdirTemp(memory, "recentfs-"); err != nil {
		return "", err
	}
	runtime := filepath.Dir(link)
	err = withDir(dir, func(fd int, _ *unix.Stat_t) error { return pass(fd, dir, dirMode, runtime) })
	if err == nil {
		err = os.Symlink(dir, link)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// inMemory says whether a directory is on a tmpfs.
func inMemory(dir string) (bool, error) {
	var stat unix.Statfs_t
	err := unix.Statfs(dir, &stat)
	return stat.Type == unix.TMPFS_MAGIC, err
}
