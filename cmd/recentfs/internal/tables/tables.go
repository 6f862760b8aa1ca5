// Package tables reads and writes tables by their files, as cat and echo do, so
// that the permissions of the files rule. It works on /proc/net/xt_recent too.
package tables

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"recentfs/cmd/recentfs/internal/report"
	"recentfs/fs"
	"recentfs/match/jiffies"
)

// Dir is a directory with a file for each table.
type Dir string

// Find returns the directory of a network namespace's tables in a mount. If netns
// is empty, it is the directory of the caller's own.
func Find(mountpoint, netns string) Dir {
	if netns != "" {
		return Dir(filepath.Join(mountpoint, fs.FolderPath(netns)))
	}
	// Only a mount for several namespaces has the link.
	self := filepath.Join(mountpoint, fs.SelfName)
	if _, err := os.Readlink(self); err == nil {
		return Dir(self)
	}
	return Dir(mountpoint)
}

// names lists the tables.
func (d Dir) names() ([]string, error) {
	files, err := os.ReadDir(string(d))
	if err != nil {
		return nil, d.explain(err, "")
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names, nil
}

// read reads a table.
func (d Dir) read(name string) ([]report.Entry, error) {
	f, err := d.open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	clock, err := jiffies.NewSystem()
	if err != nil {
		return nil, err
	}
	entries, err := report.Read(f, report.Moment{Now: clock.Now(), HZ: clock.HZ(), Wall: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return entries, nil
}

// Write writes each line to a table's file, at position 0 as the module wants
// it.
func (d Dir) Write(name string, lines []string) error {
	f, err := d.open(name, os.O_WRONLY)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if _, err := f.WriteAt([]byte(line), 0); err != nil {
			f.Close()
			return fmt.Errorf("%s: %s was not taken: %w", f.Name(), line, errors.Unwrap(err))
		}
	}
	return f.Close()
}

// open opens a table's file.
func (d Dir) open(name string, flag int) (*os.File, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q is no table's name", name)
	}
	f, err := os.OpenFile(filepath.Join(string(d), name), flag, 0)
	if err != nil {
		return nil, d.explain(err, name)
	}
	return f, nil
}

// explain says why a table could not be opened, or the directory if name is
// empty.
func (d Dir) explain(err error, name string) error {
	dir := string(d)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: permission denied: its owner or root may, see ip_list_uid, ip_list_gid and ip_list_perms", filepath.Join(dir, name))
	case errors.Is(err, syscall.ENOTCONN):
		return fmt.Errorf("%s: the recentfs that served it is gone: start one with 'recentfs run'", dir)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if files, err := os.ReadDir(dir); err == nil {
		return fmt.Errorf("%s has no table %q among its %d: a table is there as long as a rule names it, see 'recentfs show'", dir, name, len(files))
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
