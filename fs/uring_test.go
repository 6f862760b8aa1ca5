package fs

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is an io_uring with room for one request.
type ring struct {
	fd                  int
	params              [30]uint32 // struct io_uring_params
	submissions, events []byte
	requests            []byte
}

func newRing(t *testing.T) *ring {
	t.Helper()
	r := new(ring)
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno != 0 {
		t.Fatalf("io_uring_setup: %v", errno)
	}
	r.fd = int(fd)
	t.Cleanup(func() { unix.Close(r.fd) })
	for _, area := range []struct {
		to     *[]byte
		offset int64
	}{{&r.submissions, 0}, {&r.events, 0x8000000}, {&r.requests, 0x10000000}} {
		memory, err := unix.Mmap(r.fd, area.offset, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			t.Fatalf("mmap of io_uring: %v", err)
		}
		t.Cleanup(func() { unix.Munmap(memory) })
		*area.to = memory
	}
	return r
}

// read reads from a file at an offset: IORING_OP_READ.
func (r *ring) read(t *testing.T, file int, buf []byte, off int64) int {
	t.Helper()
	word := func(memory []byte, offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&memory[offset])) }
	request := r.requests[:64]
	clear(request)
	request[0] = 22 // IORING_OP_READ
	binary.NativeEndian.PutUint32(request[4:], uint32(file))
	binary.NativeEndian.PutUint64(request[8:], uint64(off))
	binary.NativeEndian.PutUint64(request[16:], uint64(uintptr(unsafe.Pointer(&buf[0]))))
	binary.NativeEndian.PutUint32(request[24:], uint32(len(buf)))
	*word(r.submissions, r.params[16]) = 0 // sq_off.array: the request has index 0
	*word(r.submissions, r.params[11])++   // sq_off.tail
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, 1, 0, 0); errno != 0 {
		t.Fatalf("io_uring_enter: %v", errno)
	}
	head, mask := word(r.events, r.params[20]), *word(r.events, r.params[22])
	n := int32(*word(r.events, r.params[25]+*head&mask*16+8))
	*head++
	if n < 0 {
		t.Fatalf("read of %d bytes at %d: %v", len(buf), off, unix.Errno(-n))
	}
	return int(n)
}

// TestReadsByRing reads a table by io_uring, which must find what read(2) finds.
func TestReadsByRing(t *testing.T) {
	h := modern(t)
	h.rule(t, "foo")
	f, err := os.OpenFile(h.path("foo"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 100 {
		if _, err := f.WriteAt(fmt.Appendf(nil, "+10.0.0.%d", i), 0); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(h.path("foo"))
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	r := newRing(t)
	for _, size := range []int{100, 4096, 8192, 64 << 10, 512 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			var got strings.Builder
			buf := make([]byte, size)
			for got.Len() <= len(want) {
				n := r.read(t, int(f.Fd()), buf, int64(got.Len()))
				if n == 0 {
					break
				}
				got.Write(buf[:n])
			}
			if got.String() != want {
				t.Errorf("%d bytes, want %d that read(2) reads", got.Len(), len(want))
			}
		})
	}
}
