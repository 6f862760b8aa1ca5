package live

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// procDir is the kernel's own directory of tables. A thread sees there the tables
// of its network namespace.
const procDir = "/proc/thread-self/net/xt_recent"

// needKernel skips a test on a machine whose kernel has no xt_recent.
func needKernel(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/proc/net/xt_recent"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("this kernel has no xt_recent to compare with: CONFIG_NETFILTER_XT_MATCH_RECENT")
	}
}

// row is what must be equal in an entry of both: everything but the stamps' times.
type row struct {
	src           string
	ttl           int
	stamps, index int
}

// rows are the entries of a table's file, sorted.
func rows(text string) ([]row, error) {
	var all []row
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "ttl:" || f[3] != "last_seen:" || f[5] != "oldest_pkt:" {
			return nil, fmt.Errorf("%q is not a line of a table", line)
		}
		ttl, err := strconv.Atoi(f[2])
		index, err2 := strconv.Atoi(f[6])
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		all = append(all, row{strings.TrimPrefix(f[0], "src="), ttl, len(f) - 7, index})
	}
	slices.SortFunc(all, func(a, b row) int { return strings.Compare(a.src, b.src) })
	return all, nil
}

// errnoOf is an error's errno, 0 for none.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		panic(err)
	}
	return errno
}

// fdRead reads a descriptor from its start to its end without moving it.
func fdRead(fd int) (string, error) {
	var text []byte
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Pread(fd, buf, int64(len(text)))
		if err != nil {
			return "", err
		}
		if n == 0 {
			return string(text), nil
		}
		text = append(text, buf[:n]...)
	}
}
