package lab

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// WarmMount prepares a mount that the test's own process serves. The first poll
// of one of its files asks the file system whether it has a POLL. It has none, and
// the kernel never asks again.
//
// Go polls each file that it opens (epoll_ctl), without telling its scheduler that
// it may wait. If all of GOMAXPROCS wait like that, no goroutine is left to
// answer, and such a process cannot even be killed.
func WarmMount(t testing.TB, dir string) {
	t.Helper()
	fd, err := unix.Open(filepath.Join(dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
}
