package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"recentfs/fs/mountlist"
)

// find finds or creates the directory, and returns its path without symbolic
// links.
func (s *Site) find(dir string) (real string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("mount point %s: %w", dir, err)
	}
	if real, err = resolve(dir); errors.Is(err, os.ErrNotExist) {
		failed := s.mkdir(dir)
		if real, err = resolve(dir); err != nil && failed != nil { // another recentfs may have made it
			if errors.Is(failed, unix.EROFS) {
				return "", fmt.Errorf("mount point %s cannot be made: its file system is read-only: mount a tmpfs there, or choose another directory", dir)
			}
			return "", fmt.Errorf("mount point %s cannot be made: %w: choose another", dir, failed)
		}
	}
	if err != nil {
		return "", fmt.Errorf("mount point %s: %w: choose another", dir, err)
	}
	return real, nil
}

// lookUnder makes sure that the mount hides nothing that it should not. The
// directory under a dead mount is out of reach.
func (s *Site) lookUnder() (err error) {
	if s.Dead, err = keepOneDead(s.Dir); err != nil || s.Dead != 0 {
		return err
	}
	s.Hidden, err = checkEmpty(s.Dir)
	return err
}

// resolve returns dir without symbolic links. It asks nothing of a mount on dir,
// since a dead one fails, and one whose process is stopped does not answer:
// open(2) with O_PATH follows links, but opens nothing.
func resolve(dir string) (string, error) {
	for try := 0; ; try++ {
		path, attached, err := resolveOnce(dir)
		// In a chroot, the mount of the root is not among those that we see.
		if err != nil || attached || try == 2 {
			return path, err
		}
	}
}

// resolveOnce also tells whether the mount that it found was attached. Another
// recentfs may have detached a dead one since open(2), and what is on a detached
// mount has a path from its root: "/".
func resolveOnce(dir string) (path string, attached bool, err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false, err
	}
	defer unix.Close(fd)
	if path, err = os.Readlink(fmt.Sprintf("/proc/thread-self/fd/%d", fd)); err != nil {
		return "", false, err
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/thread-self/fdinfo/%d", fd))
	if err != nil {
		return "", false, err
	}
	var id int
	for line := range strings.Lines(string(info)) {
		if _, err := fmt.Sscanf(line, "mnt_id: %d", &id); err == nil {
			break
		}
	}
	mounts, err := mountlist.Get(func(m *mountinfo.Info) (skip, stop bool) { return m.ID != id, m.ID == id })
	return path, len(mounts) > 0, err
}

// mkdir creates dir and what is missing above it, and notes them in Created.
func (s *Site) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrNotExist) {
		switch above := s.mkdir(filepath.Dir(dir)); {
		case above == nil:
			err = os.Mkdir(dir, 0o755)
		case !errors.Is(above, os.ErrExist):
			err = above
		}
	}
	if err != nil {
		return err
	}
	s.Created = append([]string{dir}, s.Created...)
	// Whatever the umask is: the modes of the files decide. Not by its path, where
	// somebody may have put a link.
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chmod(0o755)
}

// checkEmpty refuses a directory with something that should not be hidden under
// a mount. It returns the plain files that writers have left: echo +ADDRESS >
// DIR/TABLE makes one where nothing is mounted on DIR. Those must not stop a
// start, since without recentfs the queues drop packets.
func checkEmpty(dir string) (left []string, err error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return nil, fmt.Errorf("mount point %s is not a directory: name one, or a path where one can be made", dir)
	case errors.Is(err, unix.ENOTCONN):
		return nil, fmt.Errorf("mount point %s: a dead mount of another program is there: umount it, or choose another", dir)
	case err != nil:
		return nil, fmt.Errorf("mount point %s: %w: choose another", dir, err)
	}
	defer f.Close()
	files, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("mount point %s: %w: choose another", dir, err)
	}
	for _, file := range files {
		if !isLeftByWriter(f, file) {
			return nil, fmt.Errorf("mount point %s is not empty (%q is in it): choose an empty directory, or empty this one", dir, file.Name())
		}
		left = append(left, file.Name())
	}
	return left, nil
}

// strayLimit is above the length of any address and of any command that a script
// writes to a table.
const strayLimit = 64

// isLeftByWriter tells whether a file may be what a writer left. It is a plain
// file, and empty, or begins as a write to a table does (recent_mt_proc_write),
// maybe with many lines of >>, or has a single short line: scripts write bad
// commands too, such as "clear" or an address without a sign. An administrator's
// file may look so. It stays as it is under the mount, and the log names it. That
// is better than a start that fails. A directory of any use has a larger file, a
// directory or a link too, and is refused.
func isLeftByWriter(dir *os.File, file os.DirEntry) bool {
	if !file.Type().IsRegular() {
		return false
	}
	fd, err := unix.Openat(int(dir.Fd()), file.Name(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), file.Name())
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, strayLimit))
	if err != nil || len(text) == 0 {
		return err == nil
	}
	if strings.ContainsRune("+-/", rune(text[0])) {
		return true
	}
	return len(text) < strayLimit && !bytes.ContainsRune(bytes.TrimSuffix(text, []byte("\n")), '\n')
}
