package state

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Everything here is for one user: files of mode 0600 in directories of mode 0700,
// whatever the umask. That user is who runs this process, or where root runs it by hand
// on directories of the service, the service's user: what root makes there belongs to
// that user, so that the service goes on with it. Root trusts names there no more than
// that user: nothing follows a link.

const (
	dirMode  = 0o700
	fileMode = 0o600
)

var errNotOurs = errors.New("is not a directory of this user")

// isService says whether a user is that of the service. Tests have others.
var isService = func(uid uint32) bool {
	u, err := user.LookupId(fmt.Sprint(uid))
	return err == nil && u.Username == "recentfs"
}

// isOurs says whether something of a user is ours to work with.
func isOurs(uid uint32) bool {
	return int(uid) == os.Geteuid() || os.Geteuid() == 0 && isService(uid)
}

// pass gives a file or directory that this process has made its mode, and the owner of
// the directory like, if that is the service's. fd may be one of O_PATH.
func pass(fd int, name string, mode uint32, like string) error {
	var is, of unix.Stat_t
	if err := unix.Fstat(fd, &is); err != nil {
		return fmt.Errorf("stat %s: %w", name, err)
	}
	if is.Mode&0o7777 != mode {
		if err := os.Chmod(fmt.Sprint("/proc/self/fd/", fd), os.FileMode(mode)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	// Where like is not there yet, root makes it for itself.
	if err := unix.Stat(like, &of); err != nil || of.Uid == is.Uid || !isOurs(of.Uid) {
		return nil
	}
	if err := unix.Fchownat(fd, "", int(of.Uid), int(of.Gid), unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("chown %s to user %d, as %s: %w", name, of.Uid, like, err)
	}
	return nil
}

// create makes a file that is not there.
func create(path string, flags int) (*os.File, error) {
	file, err := os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	if err := pass(int(file.Fd()), path, fileMode, filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	return file, nil
}

// openFile opens a plain file. Somebody may have put something else there: a link leads
// elsewhere, and a FIFO would let us wait.
func openFile(path string, flags int) (*os.File, os.FileInfo, error) {
	file, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a plain file: remove it", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

// touch makes the time of a file now. Root may do so with a file of the service's user
// without CAP_FOWNER, unlike with any other time.
func touch(path string) error {
	now := unix.Timespec{Nsec: unix.UTIME_NOW}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{now, now}, unix.AT_SYMLINK_NOFOLLOW)
}

// makeDir makes a directory for us alone, if it is not there, and those above it. What
// it makes has the owner of the directory like, if that is the service's.
func makeDir(dir, like string) error {
	if err := makeAbove(dir); err != nil {
		return err
	}
	return makeLast(dir, like)
}

// makeAbove makes the directories above one, which anybody may pass.
func makeAbove(dir string) error {
	above := filepath.Dir(dir)
	if _, err := os.Stat(above); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := makeAbove(above); err != nil {
		return err
	}
	if err := os.Mkdir(above, 0o755); errors.Is(err, os.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return withDir(above, func(fd int, _ *unix.Stat_t) error { return pass(fd, above, 0o755, filepath.Dir(above)) })
}

// makeLast is makeDir where the directory above is there.
func makeLast(dir, like string) error {
	if err := makeOurs(dir, like); err != nil {
		return err
	}
	return withDir(dir, func(fd int, is *unix.Stat_t) error {
		if is.Mode&0o777 == dirMode {
			return nil
		}
		err := os.Chmod(fmt.Sprint("/proc/self/fd/", fd), dirMode)
		if errors.Is(err, unix.EROFS) { // where nobody can write
			return nil
		}
		return err
	})
}

// makeOurs is makeLast for a directory whose mode is right, if it is there. Another user
// may have made it, where that is allowed, to read the tables or to change them.
func makeOurs(dir, like string) error {
	made := os.Mkdir(dir, dirMode)
	if made != nil && !errors.Is(made, os.ErrExist) {
		return made
	}
	return withDir(dir, func(fd int, is *unix.Stat_t) error {
		if !isOurs(is.Uid) {
			return fmt.Errorf("%s %w: remove it, chown it, or name another", dir, errNotOurs)
		}
		if made == nil {
			return pass(fd, dir, dirMode, like)
		}
		return nil
	})
}

// withDir calls do with a directory, which may be without any permission.
func withDir(dir string, do func(fd int, is *unix.Stat_t) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%s %w: remove it, or name another", dir, errNotOurs)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	var is unix.Stat_t
	if err := unix.Fstat(fd, &is); err != nil {
		return fmt.Errorf("stat %s: %w", dir, err)
	}
	return do(fd, &is)
}
