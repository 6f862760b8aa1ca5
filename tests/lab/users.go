package lab

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// As does something as another user, on this thread alone. do must not end the test.
func As(t testing.TB, uid uint32, do func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	become := func(uid uint32) {
		if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); err != 0 {
			t.Fatalf("setresuid %d: %v", uid, err)
		}
	}
	become(uid)
	defer become(0)
	do()
}
