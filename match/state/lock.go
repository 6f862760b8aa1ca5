package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Lock keeps other processes away from a directory, which it makes if it is not
// there. The lock ends with unlock, or with the process. It is on the directory
// itself: a file that is open for writing would keep its file system from becoming
// read-only.
func Lock(dir string) (unlock func(), err error) { return lock(dir, filepath.Dir(dir)) }

// lock is Lock. If it makes the directory, that has the owner of like: see pass.
func lock(dir, like string) (unlock func(), err error) {
	if err := makeDir(dir, like); err != nil {
		return nil, err
	}
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another recentfs uses %s: stop it, or name another directory", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { file.Close() }, nil
}
