package lab

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// FewDescriptors calls f with room for no further descriptor, then for one, and so
// on, until f succeeds. Each error must be EMFILE and leave no descriptor. failed
// looks at it, with as many descriptors as usual.
func FewDescriptors(t testing.TB, f func() error, failed func(err error)) {
	t.Helper()
	var usual unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	limit := func(l unix.Rlimit) {
		t.Helper()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
	}
	defer limit(usual)
	free, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0) // the lowest that is free
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(free)
	before := Descriptors(t)
	for few := (unix.Rlimit{Cur: uint64(free), Max: usual.Max}); few.Cur < usual.Cur; few.Cur++ {
		limit(few)
		err := f()
		limit(usual)
		switch {
		case err == nil && few.Cur == uint64(free):
			t.Fatal("it needs no descriptor")
		case err == nil:
			return
		case !errors.Is(err, unix.EMFILE):
			t.Fatalf("room for %d descriptors: error %v, want EMFILE", few.Cur-uint64(free), err)
		}
		if now := Descriptors(t); now > before {
			t.Fatalf("room for %d descriptors: %d are open, before it was %d", few.Cur-uint64(free), now, before)
		}
		failed(err)
	}
	t.Fatal("it never succeeds")
}
