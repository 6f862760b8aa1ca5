// Package tables reads and writes tables by their files, as cat and echo do, so
// that the permissions of the files rule. It works on /proc/net/xt_recent too,
// and on no other directory.
package tables

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"recentfs/fs"
)

// Place says which directory has a file for each table.
type Place struct {
	Mountpoint string
	Netns      string // the network namespace, or the caller's own if it is empty
}

// dir is that directory, opened.
type dir struct {
	*os.File
	mount string // the ID of its mount
}

// open opens the directory. A directory that does not read and write as the
// module's is an error.
func (p Place) open() (*dir, error) {
	root, err := openDir(unix.AT_FDCWD, p.Mountpoint, p.Mountpoint)
	if err != nil {
		return nil, err
	}
	several := root.hasSelf()
	if p.Netns == "" && !several {
		return root, nil
	}
	defer root.Close()
	if !several {
		return nil, fmt.Errorf("%s: the tables there are those of one network namespace: leave --netns out, or serve several by 'recentfs run --netns'", p.Mountpoint)
	}
	folder := fs.SelfName
	if p.Netns != "" {
		folder = fs.FolderPath(p.Netns)
	}
	return openDir(int(root.Fd()), folder, filepath.Join(p.Mountpoint, folder))
}

// hasSelf reports whether the mount is for several namespaces: only such a mount
// has the link.
func (d *dir) hasSelf() bool {
	_, err := unix.Readlinkat(int(d.Fd()), fs.SelfName, make([]byte, 1))
	return err == nil
}

// openDir opens a directory, whose path is for messages. What is no directory is
// not opened.
func openDir(at int, name, path string) (*dir, error) {
	fd, err := openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, explainDir(path, err)
	}
	d := &dir{File: os.NewFile(uintptr(fd), path)}
	if d.mount, err = checkDir(fd); err != nil {
		d.Close()
		return nil, fmt.Errorf("%s: %w: start 'recentfs run', or name its --mountpoint", path, err)
	}
	return d, nil
}

func openat(at int, name string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Openat(at, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// table opens a table's file.
func (d *dir) table(name string, flags int) (*os.File, error) {
	path := filepath.Join(d.Name(), name)
	// O_NONBLOCK: a FIFO that is mounted there must not block us.
	fd, err := openat(int(d.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_NONBLOCK)
	if err != nil {
		return nil, d.explain(name, err)
	}
	mount, err := mountID(fd)
	if err == nil && mount != d.mount {
		err = errors.New("something else is mounted there")
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// checkName keeps a table's name from leading out of the directory.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return fmt.Errorf("%q is no table's name", name)
	}
	return nil
}

// Write writes each line to a table's file, at position 0 as the module wants
// it.
func (p Place) Write(name string, lines []string) error {
	if err := checkName(name); err != nil {
		return err
	}
	d, err := p.open()
	if err != nil {
		return err
	}
	defer d.Close()
	f, err := d.table(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	for _, line := range lines {
		// procfs has no pwrite (seq_open), and a write moves the position.
		_, err := f.Seek(0, io.SeekStart)
		if err == nil {
			_, err = f.WriteString(line)
		}
		if err != nil {
			f.Close()
			return fmt.Errorf("%s: %s was not taken: %w", f.Name(), line, errors.Unwrap(err))
		}
	}
	return f.Close()
}

// explain says why a table could not be opened.
func (d *dir) explain(name string, err error) error {
	if !errors.Is(err, os.ErrNotExist) {
		return explainErrno(filepath.Join(d.Name(), name), err)
	}
	if names, err := d.Readdirnames(-1); err == nil {
		return fmt.Errorf("%s has no table %q among its %d: a table is there as long as a rule names it, see 'recentfs show'", d.Name(), name, len(names))
	}
	return explainDir(d.Name(), err)
}

// explainDir says why the directory of the tables could not be opened.
func explainDir(dir string, err error) error {
	if !errors.Is(err, os.ErrNotExist) {
		return explainErrno(dir, err)
	}
	netns := filepath.Base(dir)
	switch {
	case netns == fs.SelfName:
		return fmt.Errorf("%s: this network namespace has no tables: name one that has by --netns, or serve it by 'recentfs run --netns'", dir)
	case strings.HasSuffix(dir, "/"+fs.FolderPath(netns)):
		return fmt.Errorf("%s: network namespace %s is not served there: see 'ls %s'", dir, netns, filepath.Dir(dir))
	}
	return fmt.Errorf("%s: there are no tables: start 'recentfs run', or name its --mountpoint", dir)
}

func explainErrno(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: permission denied: its owner or root may, see ip_list_uid, ip_list_gid and ip_list_perms", path)
	case errors.Is(err, syscall.ENOTCONN):
		return fmt.Errorf("%s: the recentfs that served it is gone: start one with 'recentfs run'", path)
	}
	return fmt.Errorf("%s: %w", path, err)
}
