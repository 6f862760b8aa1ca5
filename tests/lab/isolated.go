package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// inside is set in the mount namespace of the tests: to fresh for the process
// that isolate starts, and to ready for the processes that this one starts, such
// as the workers of a fuzz target.
const inside = "RECENTFS_TESTS_ISOLATED"

// isolate runs this test binary again, in a mount namespace of its own, and
// returns its exit status. In that second process it returns false: the caller
// runs the tests. It does the same without root, where the tests that need root
// are skipped.
func isolate() (status int, ran bool) {
	if os.Geteuid() != 0 {
		return 0, false
	}
	switch os.Getenv(inside) {
	case "ready":
		return 0, false
	case "fresh":
		os.Setenv(inside, "ready")
		if err := emptyRun(); err != nil {
			return failed(err), true
		}
		return 0, false
	}
	runtime.LockOSThread() // Pdeathsig: the child dies with this thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args // tests start themselves by os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=fresh")
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
	fmt.Fprintln(os.Stderr, "lab: isolate the tests:", err)
	return 1
}

func emptyRun() error {
	// The mount namespaces that tests make share their mounts, as under systemd.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts: %w", err)
	}
	if err := syscall.Mount("none", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount on /run: %w", err)
	}
	return os.Mkdir("/run/lock", 0o1777)
}
