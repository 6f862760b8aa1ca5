package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prepare finds or makes an empty directory to mount on. An error leaves
// nothing behind.
func prepare(dir string) (*Mountpoint, error) {
	m := &Mountpoint{ended: make(chan struct{})}
	if err := m.find(dir); err != nil {
		m.removeMade()
		return nil, err
	}
	return m, nil
}

func (m *Mountpoint) find(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("mount point %s: %w", dir, err)
	}
	if m.dir, err = resolve(dir); err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("mount point %s: %w: choose another", dir, err)
		}
		if err := m.mkdir(dir); err != nil {
			return fmt.Errorf("mount point %s cannot be made: %w: choose another", dir, err)
		}
		if m.dir, err = resolve(dir); err != nil {
			return fmt.Errorf("mount point %s: %w", dir, err)
		}
	}
	replaced, err := detachDead(m.dir)
	if err != nil {
		return err
	}
	if err := checkEmpty(m.dir); err != nil {
		return err
	}
	if replaced {
		m.made = []string{m.dir} // by the one that is dead, who cannot remove it
	}
	return nil
}

// resolve is dir without symbolic links. Of its last element it asks nothing
// that a dead mount must answer.
func resolve(dir string) (string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if !errors.Is(err, unix.ENOTCONN) {
		return real, err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	return filepath.Join(parent, filepath.Base(dir)), err
}

// mkdir makes dir and what is missing above it, and remembers them in made.
func (m *Mountpoint) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrNotExist) {
		switch above := m.mkdir(filepath.Dir(dir)); {
		case above == nil:
			err = os.Mkdir(dir, 0o755)
		case !errors.Is(above, os.ErrExist):
			err = above
		}
	}
	if err != nil {
		return err
	}
	m.made = append([]string{dir}, m.made...)
	return os.Chmod(dir, 0o755) // whatever the umask: the files say who may
}

// detachDead detaches what recentfs processes that were killed have left
// mounted on dir, and tells whether there was any. One that is alive is an
// error.
func detachDead(dir string) (detached bool, err error) {
	for ; ; detached = true {
		top, mounted, err := topMount(dir)
		if err != nil {
			return detached, fmt.Errorf("mount point %s: %w", dir, err)
		}
		if !mounted || top.fsType != fsType {
			return detached, nil
		}
		// Unlike stat, which the kernel may answer from memory, this always
		// asks the process behind the mount.
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); !errors.Is(err, unix.ENOTCONN) {
			return detached, fmt.Errorf("mount point %s: another recentfs is mounted there: stop it, or choose another mount point", dir)
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return detached, fmt.Errorf("mount point %s: detaching the dead mount there: %w: run as root", dir, err)
		}
	}
}

// checkEmpty refuses what should not be hidden under a mount.
func checkEmpty(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("mount point %s is not a directory: name one, or a path where one can be made", dir)
	case errors.Is(err, unix.ENOTCONN):
		return fmt.Errorf("mount point %s: a dead mount of another program is there: umount it, or choose another", dir)
	case err != nil:
		return fmt.Errorf("mount point %s: %w: choose another", dir, err)
	}
	defer f.Close()
	if names, err := f.Readdirnames(1); err != io.EOF {
		if err != nil {
			return fmt.Errorf("mount point %s: %w: choose another", dir, err)
		}
		return fmt.Errorf("mount point %s is not empty (%q is in it): choose an empty directory", dir, names[0])
	}
	return nil
}

// mountInfoFile lists the mounts of the calling thread's mount namespace.
const mountInfoFile = "/proc/thread-self/mountinfo"

// mountInfo is a line of it.
type mountInfo struct {
	dev            uint64
	fsType, source string
}

// topMount is the uppermost mount on dir; mounted is false where dir is no
// mount point. Asking mountinfo needs no answer from any file system.
func topMount(dir string) (top mountInfo, mounted bool, err error) {
	text, err := os.ReadFile(mountInfoFile)
	if err != nil {
		return top, false, err
	}
	for line := range strings.Lines(string(text)) {
		// 36 35 98:0 /root /mount/point options [tags...] - type source options
		f := strings.Fields(line)
		sep := len(f)
		for i, field := range f {
			if field == "-" {
				sep = i
				break
			}
		}
		if sep < 6 || sep+2 >= len(f) || unescape(f[4]) != dir {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(f[2], "%d:%d", &major, &minor); err != nil {
			return top, false, fmt.Errorf("%s: %q is no device", mountInfoFile, f[2])
		}
		top, mounted = mountInfo{unix.Mkdev(major, minor), f[sep+1], f[sep+2]}, true
	}
	return top, mounted, nil
}

// unescape undoes mangle_path of fs/seq_file.c: \ooo is a byte in octal.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
