package nfqueue

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestOptions reads back from the kernel what Open has set.
func TestOptions(t *testing.T) {
	q, err := openIn(t, newNamespace(t), 7)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	wait, err := unix.GetsockoptTimeval(q.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		got, want int
	}{
		{"NETLINK_NO_ENOBUFS", option(t, q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS), 1},
		{"SO_RCVBUF", option(t, q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF), 2 * DefaultBuffer},
		{"SO_RCVTIMEO", int(wait.Nano()), int(linger)},
		{"O_NONBLOCK of the socket", flags(t, q.fd, unix.F_GETFL) & unix.O_NONBLOCK, 0},
		{"FD_CLOEXEC of the socket", flags(t, q.fd, unix.F_GETFD), unix.FD_CLOEXEC},
		{"FD_CLOEXEC of the list", flags(t, int(q.queues.file.(*os.File).Fd()), unix.F_GETFD), unix.FD_CLOEXEC},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, want %d", c.name, c.got, c.want)
		}
	}
}

func option(t *testing.T, fd, level, name int) int {
	t.Helper()
	v, err := unix.GetsockoptInt(fd, level, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func flags(t *testing.T, fd, command int) int {
	t.Helper()
	v, err := unix.FcntlInt(uintptr(fd), command, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestReceiveBuffer sets the options without CAP_NET_ADMIN, as in a user namespace:
// the buffer is then as large as the system allows.
func TestReceiveBuffer(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
		t.Fatal(err)
	}
	lab.WithCapabilities(t, 0, func() { err = setOptions(fd, DefaultBuffer) })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := option(t, fd, unix.SOL_SOCKET, unix.SO_RCVBUF), 2*min(DefaultBuffer, most); got != want {
		t.Errorf("a buffer of %d bytes, want %d", got, want)
	}
}

// TestOptionsFail sets the options of what is no socket.
func TestOptionsFail(t *testing.T) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := setOptions(fd, DefaultBuffer); !errors.Is(err, unix.ENOTSOCK) || !strings.HasPrefix(err.Error(), "setsockopt(NETLINK_NO_ENOBUFS): ") {
		t.Errorf("error %v", err)
	}
}
