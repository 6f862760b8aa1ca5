package device

import (
	"encoding/binary"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"recentfs/tests/lab"
)

// TestAgree has the kernel say its INIT.
func TestAgree(t *testing.T) {
	defer log.SetOutput(os.Stderr)
	for _, c := range []struct {
		name string
		init func() []byte
		want string
	}{
		{"a recent kernel", func() []byte { return initBytes(initIn()) }, ""},
		{"a kernel before Linux 5.17", func() []byte { return initBytes(initIn())[:56] }, ""},
		{"another protocol", func() []byte {
			in := initIn()
			in.Major = 6
			return initBytes(in)
		}, "start FUSE: agree with the kernel: input/output error"},
		{"something else", func() []byte { return release }, "is no INIT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log.SetOutput(io.Discard) // go-fuse names the versions
			conn, kernel := adopted(t)
			conn.init = fuse.InitIn{}
			send(t, kernel, c.init())
			err := conn.Serve(fuse.NewDefaultRawFileSystem(), Options(), false)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || conn.memory.shared.agreed != 0 && c.name == "something else" {
					t.Errorf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if unique, status := answered(t, kernel); unique != 0 || status != 0 {
				t.Errorf("answer %d, status %d", unique, status)
			}
			if conn.memory.shared.agreed != 1 || conn.memory.shared.init != conn.init || conn.init.Minor != initIn().Minor {
				t.Errorf("the next process finds %+v", conn.memory.shared.init)
			}
			if err := conn.Leave(); err != nil {
				t.Error(err)
			}
		})
	}
}

func initBytes(in *fuse.InitIn) []byte {
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(in)), unsafe.Sizeof(*in)))
}

// TestMemorySize has a connection go on in another process, with what the kernel
// believes of sizes.
func TestMemorySize(t *testing.T) {
	c, kernel := adopted(t)
	c.Appended(12345)
	next := &Conn{fd: c.fd, memory: c.memory}
	next.RaiseSize(7, 0)
	if _, body := receive(t, kernel); binary.NativeEndian.Uint64(body[8:]) < 12345 {
		t.Errorf("a byte at %d", binary.NativeEndian.Uint64(body[8:]))
	}
	c.memory.shared.agreed = 1
	c.memory.SetDev(7)
	c.memory.begin()
	if c.memory.shared.agreed != 0 || c.memory.Dev() != 0 {
		t.Error("a new connection has begun already")
	}
	if size := next.Size(); size != 0 {
		t.Errorf("a new connection begins with a size of %d", size)
	}
}

// TestFilesFail has too few descriptors for copies.
func TestFilesFail(t *testing.T) {
	c, _ := adopted(t)
	before := lab.Descriptors(t)
	lab.FewDescriptors(t, func() error {
		files, err := c.Files()
		for _, f := range files {
			f.Close()
		}
		return err
	}, func(err error) {
		if !strings.HasPrefix(err.Error(), "duplicate the descriptor of ") {
			t.Error(err)
		}
	})
	lab.FewDescriptors(t, func() error {
		m, err := NewMemory(0)
		if err == nil {
			m.Close()
		}
		return err
	}, func(error) {})
	if now := lab.Descriptors(t); now != before {
		t.Errorf("%d descriptors are open, before it was %d", now, before)
	}
	if _, err := new(Conn).Files(); err == nil {
		t.Error("a connection that ends with the process has files")
	}
}
