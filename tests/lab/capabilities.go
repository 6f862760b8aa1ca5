package lab

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// WithCapabilities runs f on a thread that has no others in its effective set.
func WithCapabilities(t testing.TB, keep uint64, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		err := unix.Capget(&header, &sets[0])
		if err == nil {
			sets[0].Effective &= uint32(keep)
			sets[1].Effective &= uint32(keep >> 32)
			err = unix.Capset(&header, &sets[0])
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
