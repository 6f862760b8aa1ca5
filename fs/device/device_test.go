package device

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenErrorSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{unix.ENOENT, "open /dev/fuse: no such file or directory: load the kernel's module (modprobe fuse)"},
		{unix.EPERM, "open /dev/fuse: operation not permitted: run as root"},
		{unix.EMFILE, "open /dev/fuse: too many open files: try again"},
	} {
		if got := openError(c.err).Error(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v, want %q", got, c.want)
		}
	}
}
