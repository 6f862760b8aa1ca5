package device

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// notified is a connection whose notifications go to a socket.
func notified(t *testing.T) (c *Conn, kernel int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c = &Conn{fd: pair[0]}
	t.Cleanup(func() {
		c.Close()
		unix.Close(pair[1])
	})
	return c, pair[1]
}

// receive is the next notification: its code, and what follows the header.
func receive(t *testing.T, kernel int) (code uint32, body []byte) {
	t.Helper()
	b := make([]byte, 100)
	n, err := unix.Read(kernel, b)
	if err != nil {
		t.Fatal(err)
	}
	native := binary.NativeEndian
	if n < headerOut || native.Uint32(b) != uint32(n) || native.Uint64(b[8:]) != 0 {
		t.Fatalf("notification % x", b[:n])
	}
	return native.Uint32(b[4:]), b[headerOut:n]
}

// TestRaiseSize stores each byte at the start of a page that no READ can hold: one
// beyond all that the kernel was ever told.
func TestRaiseSize(t *testing.T) {
	c, kernel := notified(t)
	size := uint64(0) // that the kernel believes in
	jumps := make(map[uint64]bool)
	for i := range 1000 {
		if i%10 == 9 {
			size += 41 // a write to a descriptor that appends
			c.Appended(size)
		}
		length := int64(i%3) << (20 + i/50)
		c.RaiseSize(7, length)
		code, body := receive(t, kernel)
		native := binary.NativeEndian
		node, offset := native.Uint64(body), native.Uint64(body[8:])
		if code != notifyStore || node != 7 || native.Uint32(body[16:]) != 1 || len(body) != 8+8+4+4+1 {
			t.Fatalf("code %d, body % x", code, body)
		}
		if offset%pageSize != 0 || offset < size {
			t.Fatalf("a byte at %d where the kernel believes in a size of %d", offset, size)
		}
		if offset < uint64(length) {
			t.Fatalf("a byte at %d, within a file of %d", offset, length)
		}
		jumps[offset-max(size, uint64(length))] = true
		size = offset + 1
	}
	if len(jumps) < 500 {
		t.Errorf("1000 pages are only %d different distances apart: the next is easy to guess", len(jumps))
	}
}

// TestRaiseSizeStartsAgain has used up all sizes.
func TestRaiseSizeStartsAgain(t *testing.T) {
	c, kernel := notified(t)
	c.size.Store(maxSize)
	for range 2 {
		c.RaiseSize(7, 0)
		if _, body := receive(t, kernel); binary.NativeEndian.Uint64(body[8:]) > maxSize {
			t.Errorf("a byte at %d", binary.NativeEndian.Uint64(body[8:]))
		}
	}
}

func TestDistrust(t *testing.T) {
	c, kernel := notified(t)
	c.Distrust(9)
	code, body := receive(t, kernel)
	native := binary.NativeEndian
	// A range of pages would have them locked.
	if code != notifyInvalInode || len(body) != 24 || native.Uint64(body) != 9 || int64(native.Uint64(body[8:])) != -1 {
		t.Errorf("code %d, body % x", code, body)
	}
}

func TestNobodyToTell(t *testing.T) {
	closed, _ := notified(t)
	closed.Close()
	for name, c := range map[string]*Conn{"nil": nil, "closed": closed} {
		t.Run(name, func(t *testing.T) {
			c.Distrust(1)
			c.RaiseSize(1, 0)
			c.Appended(1)
		})
	}
}

// TestNumberUsedAgain gives a closed connection's number to another file, which gets
// no notification.
func TestNumberUsedAgain(t *testing.T) {
	c, _ := notified(t)
	number := c.fd
	c.Close()
	other, end := notified(t)
	if other.fd != number {
		if err := unix.Dup3(other.fd, number, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(number)
	}
	c.Distrust(1)
	c.RaiseSize(1, 0)
	if n, _, err := unix.Recvfrom(end, make([]byte, 100), unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Errorf("the other file got %d bytes, %v", n, err)
	}
}
