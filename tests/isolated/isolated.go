// Package isolated runs a package's tests in a mount namespace of their own,
// with nothing yet in /run, so that namespaces with names (/run/netns), mounts
// and whatever covers /proc/net are nobody else's and go with the tests.
package isolated

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// inside marks the process that runs the tests.
const inside = "RECENTFS_TESTS_ISOLATED"

// Run runs this test binary again, inside of such a namespace, and returns its
// exit status. In the process that it runs it returns false, and the tests are
// to be run; as it does without root, where tests skip what they need root for.
func Run() (status int, ran bool) {
	if os.Geteuid() != 0 {
		return 0, false
	}
	if os.Getenv(inside) != "" {
		if err := emptyRun(); err != nil {
			return failed(err), true
		}
		return 0, false
	}
	runtime.LockOSThread() // the child dies with the thread that made it
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args // by the first of which tests start themselves
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), true
	}
	if err != nil {
		return failed(err), true
	}
	return 0, true
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "isolated:", err)
	return 1
}

func emptyRun() error {
	// Shared among the mount namespaces that the tests make, as systemd has it.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts: %w", err)
	}
	if err := syscall.Mount("none", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount on /run: %w", err)
	}
	return os.Mkdir("/run/lock", 0o1777)
}
