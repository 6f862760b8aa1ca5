// Package service is what a service manager and the daemon tell each other, and the
// privileges that the daemon gives away.
package service

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Capabilities that a recentfs keeps that root has started by hand.
var (
	// needed are those of a daemon: NET_ADMIN for the queues, DAC_OVERRIDE for files of
	// rules and state directories of other users, CHOWN to leave what it makes there to
	// these users.
	needed = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_DAC_OVERRIDE, unix.CAP_CHOWN}
	// neededAlone are needed too where no helper mounts: SYS_ADMIN for mount(2) and
	// setns(2), SYS_PTRACE to see which network namespace a process is in.
	neededAlone = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE}
)

// Shed gives away the capabilities that this process has as root and does not need, for
// good: it executes the program once more, since each thread has capabilities of its own
// and only execve(2) changes those of all. It returns if there is nothing to give away.
// The caller must hold runtime.LockOSThread.
func Shed(hasHelper bool) error {
	if os.Geteuid() != 0 {
		return nil
	}
	keep := slices.Clone(needed)
	if !hasHelper {
		keep = append(keep, neededAlone...)
	}
	shed := false
	for c := uintptr(0); ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel has no more
		}
		if err != nil || has == 0 || slices.Contains(keep, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			logrus.Warnf("recentfs keeps all its capabilities: it may not give them away (CAP_SETPCAP): %v", err)
			return nil
		}
		shed = true
	}
	if !shed {
		return nil
	}
	if err := clearInherited(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return fmt.Errorf("execute %s once more, with fewer capabilities: %w", program, syscall.Exec(program, os.Args, os.Environ()))
}

// clearInherited clears the sets of the thread that would add to what the program gets.
func clearInherited() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	err := unix.Capget(&header, &sets[0])
	if err == nil {
		sets[0].Inheritable, sets[1].Inheritable = 0, 0
		err = unix.Capset(&header, &sets[0])
	}
	if err != nil {
		return fmt.Errorf("inheritable capabilities: %w", err)
	}
	return nil
}

// refused are the system calls that a daemon never makes, and that would help somebody
// who has got into it. Those of other architectures are refused too.
var refused = []string{
	"acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime", "create_module", "delete_module",
	"execve", "execveat", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
	"io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
	"lookup_dcookie", "migrate_pages", "mknod", "mknodat", "modify_ldt", "mount_setattr", "move_pages", "nfsservctl",
	"open_by_handle_at", "perf_event_open", "personality", "pivot_root", "process_madvise", "process_vm_readv",
	"process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname", "setfsgid",
	"setfsuid", "setgid", "setgroups", "sethostname", "setregid", "setresgid", "setresuid", "setreuid", "settimeofday",
	"setuid", "swapoff", "swapon", "unshare", "uselib", "userfaultfd", "vhangup", "vm86", "vm86old", "vmsplice",
}

// refusedWithHelper are refused where a helper mounts.
var refusedWithHelper = []string{"mount", "move_mount", "open_tree", "setns", "umount", "umount2"}

// Filter has the kernel refuse system calls to all threads, for good (seccomp(2)). What
// is refused is EPERM. It allows what the architecture has but for these, since a list
// of what Go's runtime needs is never complete.
func Filter(hasHelper bool) error {
	this, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("filter of system calls: %w", err)
	}
	var allowed []string
	for name := range this.SyscallNames {
		if !slices.Contains(refused, name) && !(hasHelper && slices.Contains(refusedWithHelper, name)) {
			allowed = append(allowed, name)
		}
	}
	runtime.LockOSThread() // no_new_privs is the thread's until the filter is there
	defer runtime.UnlockOSThread()
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionAllow, Names: allowed}},
		},
	})
}
