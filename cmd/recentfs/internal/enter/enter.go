// Package enter runs a program for which /proc/net/xt_recent is the tables of
// recentfs.
package enter

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"recentfs/fs"
	"recentfs/fs/procnet"
	"recentfs/namespaces"
)

// StatusError is the error of a command that cannot be run, with the exit status
// that says so in a shell and in env(1), nsenter(1) and the like.
type StatusError struct {
	Status int
	Err    error
}

func (e *StatusError) Error() string { return e.Err.Error() }

// Unwrap is the error without its status.
func (e *StatusError) Unwrap() error { return e.Err }

const (
	exitCannotRun = 126
	exitNotFound  = 127
)

func withStatus(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return &StatusError{exitNotFound, err}
	}
	return &StatusError{exitCannotRun, err}
}

// Exec replaces this process by a command, in a mount namespace of its own, where
// the tables of the recentfs that serves mountpoint are those of the module. netns
// names the network namespace, if it is another one. Exec returns only errors. On
// the main thread the command keeps what belongs to that alone: PR_SET_PDEATHSIG.
func Exec(mountpoint, netns string, args []string) error {
	program, err := exec.LookPath(args[0])
	if err != nil {
		return withStatus(err)
	}
	module, err := liveModule(mountpoint)
	if err != nil {
		return err
	}
	// execve(2) makes the thread's namespaces the process's: begin_new_exec.
	runtime.LockOSThread()
	if netns != "" {
		if err := enterNetns(netns); err != nil {
			return err
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("a mount namespace for %s: %w: run as root", args[0], err)
	}
	// Mounts that are made elsewhere from now on arrive here, so the command sees
	// a recentfs that starts again. Ours do not leave.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("a mount namespace for %s: %w", args[0], err)
	}
	if _, err := procnet.Mount(fs.ModuleFiles(module)); err != nil {
		return err
	}
	if _, err := os.Stat(procTables); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(os.Stderr, "recentfs exec: %s is not there for this network namespace, which recentfs does not serve, or for processes that it cannot see: look at 'recentfs run --netns' and its warnings\n", procTables)
	}
	return withStatus(fmt.Errorf("%s: %w", program, syscall.Exec(program, args, os.Environ())))
}

// procTables is where the module shows its tables.
const procTables = "/proc/net/xt_recent"

// enterNetns moves the calling thread into a network namespace.
func enterNetns(netns string) error {
	path, err := namespaces.Locate(netns)
	if err != nil {
		return err
	}
	ns, err := namespaces.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %s is not there: see 'ip netns list'", netns, path)
	}
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", netns, err)
	}
	defer ns.Close()
	return ns.Enter()
}

// liveModule returns the directory of the module's parameters beside a mount, if
// a recentfs serves it.
func liveModule(mountpoint string) (string, error) {
	module, err := filepath.Abs(fs.ModuleDir(mountpoint))
	if err != nil {
		return "", err
	}
	if !fs.IsLive(module) {
		return "", fmt.Errorf("%s: no recentfs serves it: start 'recentfs run', or name its --mountpoint", mountpoint)
	}
	return filepath.EvalSymlinks(module)
}
