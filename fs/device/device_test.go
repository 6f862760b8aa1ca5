package device

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func openNew() (*Conn, error) {
	fd, err := Open()
	if err != nil {
		return nil, err
	}
	return New(fd, nil), nil
}

// open opens the device until the test ends.
func open(t *testing.T) *Conn {
	t.Helper()
	lab.NeedRoot(t)
	c, err := openNew()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.fd >= 0 {
			c.Close()
		}
	})
	return c
}

// TestOpen opens the device, which no program that we start gets.
func TestOpen(t *testing.T) {
	flags, err := unix.FcntlInt(uintptr(open(t).fd), unix.F_GETFD, 0)
	if err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("flags %#x, %v, want FD_CLOEXEC", flags, err)
	}
	lab.FewDescriptors(t, func() error {
		c, err := openNew()
		if err == nil {
			c.Close()
		}
		return err
	}, func(error) {})
}

func TestCheckDevice(t *testing.T) {
	lab.NeedRoot(t)
	dir := t.TempDir()
	file, block, other := filepath.Join(dir, "file"), filepath.Join(dir, "block"), filepath.Join(dir, "other")
	err := errors.Join(os.WriteFile(file, nil, 0o600),
		unix.Mknod(block, unix.S_IFBLK|0o600, int(unix.Mkdev(10, 229))),
		unix.Mknod(other, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 228))))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want string }{
		{"the device", path, ""},
		{"null", os.DevNull, "not the FUSE device but another device: remove it and make the device"},
		{"the device before it", other, "not the FUSE device but another device"},
		{"a file", file, "not the FUSE device but a plain file"},
		{"a disk of its number", block, "not the FUSE device but "},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, err := unix.Open(c.path, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if err := checkDevice(fd); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	if err := checkDevice(-1); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptor: %v", err)
	}
}

// TestServeFails serves a connection that is not mounted, with too few descriptors
// too. It is closed then.
func TestServeFails(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct {
		name       string
		goFuseLoop bool
		few        []string
	}{
		{"our loop", false, []string{openError(unix.EMFILE).Error()}},
		{"go-fuse's loop", true, []string{openError(unix.EMFILE).Error(), "duplicate /dev/fuse: too many open files"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := lab.Descriptors(t)
			var err error // of the call that has enough
			var few []string
			lab.FewDescriptors(t, func() error {
				conn, failed := openNew()
				if failed != nil {
					return failed
				}
				if err = conn.Serve(fuse.NewDefaultRawFileSystem(), Options(), c.goFuseLoop); errors.Is(err, unix.EMFILE) {
					return err
				}
				return nil
			}, func(err error) { few = append(few, err.Error()) })
			if few = slices.Compact(few); !slices.Equal(few, c.few) { // some numbers are in use
				t.Errorf("with few descriptors %q, want %q", few, c.few)
			}
			if err == nil || !strings.HasPrefix(err.Error(), "start FUSE: ") || !strings.Contains(err.Error(), unix.EPERM.Error()) {
				t.Errorf("error %v", err)
			}
			if now := lab.Descriptors(t); now != before {
				t.Errorf("%d descriptors are open, before it was %d", now, before)
			}
		})
	}
}

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
