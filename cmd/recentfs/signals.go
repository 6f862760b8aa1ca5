package main

import (
	"os/signal"
	"syscall"
	"unsafe"
)

// endBySignals gives the signals that end a program back to the kernel, which then
// ends ours as it ends cat. Go has handlers for them, which run between two system
// calls of a thread. A thread in a FUSE request would not get there before the
// daemon answers: where the daemon is stopped, SIGKILL alone would end us.
//
// Go's runtime does not hear of it, and does not need to. Nobody here calls
// signal.Notify.
func endBySignals() {
	var byDefault [64]byte // more than the kernel's struct sigaction, and all of it zero: SIG_DFL
	const sigsetSize = 8
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
		if signal.Ignored(s) {
			continue // nohup
		}
		// It fails for signals alone that there are none of. The memory is read only.
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&byDefault)), 0, sigsetSize, 0, 0)
	}
}
