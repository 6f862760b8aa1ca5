package enter

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"
	"testing"
)

// TestStatus has the exit status of a command that cannot be run, as in env(1).
func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"no such command", &exec.Error{Name: "x", Err: exec.ErrNotFound}, 127},
		{"no such path", &fs.PathError{Op: "stat", Path: "/x", Err: syscall.ENOENT}, 127},
		{"no interpreter", fmt.Errorf("/x: %w", syscall.ENOENT), 127},
		{"no permission", fmt.Errorf("/x: %w", syscall.EACCES), 126},
		{"not a program", fmt.Errorf("/x: %w", syscall.ENOEXEC), 126},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got *StatusError
			if err := withStatus(c.err); !errors.As(err, &got) || got.Status != c.want || err.Error() != c.err.Error() {
				t.Errorf("%v, want status %d", err, c.want)
			}
		})
	}
}
