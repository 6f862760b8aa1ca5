package fs

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestRingFindsNoEndTooEarly does what makes the kernel believe in a size of 0. A
// read by io_uring finds the end there.
func TestRingFindsNoEndTooEarly(t *testing.T) {
	h := modern(t)
	fill(t, h, 100)
	r := newRing(t, 0)
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"a write by >", func() error {
			fd, err := unix.Open(h.path("foo"), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) }) // so that the write alone restores the size
			_, err = unix.Write(fd, []byte("+10.0.0.1"))
			return err
		}},
		{"only >", func() error {
			fd, err := unix.Open(h.path("foo"), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}},
		{"truncate", func() error { return unix.Truncate(h.path("foo"), 0) }},
		{"chmod", func() error { return unix.Chmod(h.path("foo"), 0o600) }},
		{"chown", func() error { return unix.Chown(h.path("foo"), 0, 0) }},
		{"stat", func() error { return unix.Stat(h.path("foo"), new(unix.Stat_t)) }},
		{"a seek to the end", func() error {
			fd, err := unix.Open(h.path("foo"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			end, err := unix.Seek(fd, 0, unix.SEEK_END)
			if end != 0 {
				return fmt.Errorf("the end is at %d (%v)", end, err)
			}
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, buf := opens(t, h, nil), make([]byte, 100)
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			lab.Eventually(t, "the reader goes on", func() error {
				if n, err := r.Read(fd, buf, 1000); n == 0 {
					return fmt.Errorf("%d bytes, %v", n, err)
				}
				return nil
			})
			var stat unix.Stat_t
			if err := unix.Stat(h.path("foo"), &stat); err != nil || stat.Size != 0 {
				t.Errorf("size %d, %v", stat.Size, err)
			}
		})
	}
}
