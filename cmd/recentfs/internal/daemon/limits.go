package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// leastDescriptors are enough to start with one queue, whatever the start
	// opens for a moment. Each further queue has queueDescriptors.
	leastDescriptors = 32
	queueDescriptors = 2
	// keptQueue and keptTable are what --state adds.
	keptQueue, keptTable = 1, 1
	// leastAddressSpace is what Go reserves at its start, a stack and a heap of
	// the C library for each thread, and a few small tables. It is hardly used.
	leastAddressSpace = 2 << 30
)

// checkLimits refuses limits under which a later part of the start would fail, or
// Go's runtime would abort while the mount is there. Under much lower ones, 8
// descriptors or 1.2 GB, Go's runtime and go-fuse's init abort before main.
func checkLimits(queues, kept int) error {
	var descriptors, space unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &descriptors); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_AS, &space); err != nil {
		return fmt.Errorf("limit of the address space: %w", err)
	}
	return limitsError(descriptors.Cur, space.Cur, queues, kept)
}

func limitsError(descriptors, addressSpace uint64, queues, kept int) error {
	if least := uint64(leastDescriptors + queueDescriptors*queues + kept); descriptors < least {
		needs := count(queues, "queue")
		if kept > 0 {
			needs += " and --state"
		}
		return fmt.Errorf("too few open files are allowed: %d, but %d are needed for %s: raise the limit (ulimit -n, or LimitNOFILE= of systemd)",
			descriptors, least, needs)
	}
	if addressSpace < leastAddressSpace {
		return fmt.Errorf("too little address space is allowed: %d KiB, but %d KiB are needed: raise the limit (ulimit -v, or LimitAS= of systemd)",
			addressSpace>>10, uint64(leastAddressSpace)>>10)
	}
	return nil
}
