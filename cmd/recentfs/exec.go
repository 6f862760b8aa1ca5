package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"recentfs/cmd/recentfs/internal/daemon"
	"recentfs/fs"
	"recentfs/fs/procnet"
	"recentfs/namespaces"
)

func execCommand() *cobra.Command {
	var dir, netns string
	cmd := &cobra.Command{
		Use:   "exec [--netns NAMESPACE] -- COMMAND [ARG...]",
		Short: "Run a program that has /proc/net/xt_recent hard-coded",
		Long: `exec runs a command for which /proc/net/xt_recent and /proc/net/ipt_recent are
the tables of recentfs: those of the network namespace that the command, or a
child of it, is in. Where the kernel has the module too, the files in
/sys/module/xt_recent/parameters are those of recentfs as well. Everything else
in /proc/net is as before, and nobody else sees a difference: the command has a
mount namespace of its own. It takes the place of recentfs, so that its exit
status is the command's, and signals go to it; 127 says that there is no such
command, 126 that it cannot be run. It needs root and Linux 5.2; the command
may drop its privileges.`,
		Example: `  recentfs exec -- fail2ban-server -f start
  recentfs exec --netns dmz -- cat /proc/net/xt_recent/SSH`,
		Args: cobra.MinimumNArgs(1),
		RunE: running(func(_ *cobra.Command, args []string) error { return execute(dir, netns, args) }),
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is the command's
	mountpointFlag(cmd, &dir)
	cmd.Flags().StringVar(&netns, "netns", "", "network `NAMESPACE` to run it in, by name, path or process id")
	return cmd
}

// unusable is a command that cannot be run, with the exit status that says so
// in a shell and in env(1), nsenter(1) and the like.
type unusable struct {
	error
	status int
}

func (u unusable) Unwrap() error { return u.error }

const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// cannotRun is the error of a command that cannot be run.
func cannotRun(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return unusable{err, exitNotFound}
	}
	return unusable{err, exitCannotRun}
}

// execute becomes the command.
func execute(mountpoint, netns string, args []string) error {
	program, err := exec.LookPath(args[0])
	if err != nil {
		return cannotRun(err)
	}
	module, err := liveModule(mountpoint)
	if err != nil {
		return err
	}
	// The thread's namespaces become the process's: begin_new_exec.
	runtime.LockOSThread()
	if netns != "" {
		if err := enter(netns); err != nil {
			return err
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("a mount namespace for %s: %w: run as root", args[0], err)
	}
	// What is mounted elsewhere from now on arrives here, and not the other way
	// round: a recentfs that starts again is seen.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("a mount namespace for %s: %w", args[0], err)
	}
	if _, err := procnet.Mount(fs.ModuleFiles(module)); err != nil {
		return err
	}
	if _, err := os.Stat(procTables); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(os.Stderr, "recentfs exec: %s is not there for this network namespace, which recentfs does not serve: see 'recentfs run --netns'\n", procTables)
	}
	return cannotRun(fmt.Errorf("%s: %w", program, syscall.Exec(program, args, os.Environ())))
}

// procTables is where the module has its tables.
const procTables = "/proc/net/xt_recent"

// enter moves the calling thread into a network namespace.
func enter(netns string) error {
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

// liveModule is the directory of the module beside a mount, if a recentfs
// serves it.
func liveModule(mountpoint string) (string, error) {
	module, err := filepath.Abs(daemon.ModuleDir(mountpoint))
	if err != nil {
		return "", err
	}
	if !procnet.IsLive(module) {
		return "", fmt.Errorf("%s: no recentfs serves it: start 'recentfs run', or name its --mountpoint", mountpoint)
	}
	return filepath.EvalSymlinks(module)
}
