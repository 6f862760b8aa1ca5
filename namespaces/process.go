package namespaces

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

func processPath(pid string) string { return "/proc/" + pid + "/ns/net" }

// Of returns the network namespace of a process or thread, which pid names in the
// PID namespace of this process. For a process of another user it needs
// CAP_SYS_PTRACE (proc_ns_get_link).
func Of(pid int) (ID, error) {
	if err := checkProc(); err != nil {
		return ID{}, err
	}
	return identify(processPath(strconv.Itoa(pid)))
}

// CheckProcesses says on which processes the calling thread may not use Of, and what
// would help. It returns nil if it may use Of on all.
func CheckProcesses() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil || sets[0].Effective&(1<<unix.CAP_SYS_PTRACE) == 0 {
		return errors.New("processes of other users: give recentfs CAP_SYS_PTRACE")
	}
	if err := checkProc(); err != nil {
		return fmt.Errorf("all processes: %w", err)
	}
	if own, err := os.Readlink("/proc/self/ns/pid"); err == nil && own != firstPID {
		return errors.New("processes outside the PID namespace of recentfs: start it in that of the host (docker run --pid=host)")
	}
	return nil
}

// firstPID is the PID namespace that the kernel starts with (PROC_PID_INIT_INO). Tests,
// which may run in another, change it.
var firstPID = "pid:[4026531836]"

// ownProc is the device of the last /proc that checkProc has found right.
var ownProc atomic.Uint64

// checkProc makes sure that a number means the same process in /proc as in this
// process's PID namespace. After `unshare --pid --fork` without --mount-proc it
// does not: the files of a number are those of some other process.
func checkProc() error {
	var st unix.Stat_t
	if err := unix.Stat("/proc", &st); err != nil {
		return &os.PathError{Op: "stat", Path: "/proc", Err: err}
	}
	if uint64(st.Dev) == ownProc.Load() {
		return nil
	}
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return fmt.Errorf("/proc does not show this process: mount one of its PID namespace: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		// task_state has a number for each PID namespace from that of /proc to
		// the process's own.
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok && len(strings.Fields(numbers)) != 1 {
			return errors.New("/proc is of another PID namespace: mount its own (unshare --mount-proc)")
		}
	}
	ownProc.Store(uint64(st.Dev))
	return nil
}
