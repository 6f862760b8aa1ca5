package device

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// newMemory is memory until the test ends.
func newMemory(t *testing.T) *Memory {
	t.Helper()
	m, err := NewMemory(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// numbered is a request with that number.
func numbered(in []byte, unique uint64) []byte {
	in = slices.Clone(in)
	header(in).Unique = unique
	return in
}

// adopted is a connection whose kernel is a socket, and on which the kernel has agreed.
func adopted(t *testing.T) (c *Conn, kernel int) {
	c, kernel = notified(t)
	c.memory, c.ended, c.init = newMemory(t), make(chan struct{}), *initIn()
	unix.SetsockoptTimeval(kernel, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	return c, kernel
}

func send(t *testing.T, kernel int, in []byte) {
	t.Helper()
	if _, err := unix.Write(kernel, in); err != nil {
		t.Fatal(err)
	}
}

// answered is the number and the status of the next answer.
func answered(t *testing.T, kernel int) (unique uint64, status int32) {
	t.Helper()
	b := make([]byte, largeAnswer)
	n, err := unix.Read(kernel, b)
	if err != nil || n < headerOut {
		t.Fatalf("an answer of %d bytes, %v", n, err)
	}
	return binary.NativeEndian.Uint64(b[8:]), int32(binary.NativeEndian.Uint32(b[4:]))
}

// TestLeave leaves a connection while a READ is at work. That is answered before Leave
// returns, and no other request is taken, until somebody serves again.
func TestLeave(t *testing.T) {
	c, kernel := adopted(t)
	fs := crowd{fuse.NewDefaultRawFileSystem(), make(chan struct{}, 2), make(chan struct{})}
	if err := c.Serve(fs, Options(), false); err != nil {
		t.Fatal(err)
	}
	// The goroutine that reads first answers this one, and another one the READ.
	send(t, kernel, numbered(asked(opGetAttr, 2, fuse.GetAttrIn{}, ""), 6))
	answered(t, kernel)
	send(t, kernel, numbered(asked(opRead, 2, fuse.ReadIn{Size: 100}, ""), 2))
	<-fs.reading
	serving := c.serving.Load()
	left := make(chan error, 1)
	go func() {
		err := c.Leave()
		if n, _, failed := unix.Recvfrom(kernel, make([]byte, 100), unix.MSG_DONTWAIT|unix.MSG_PEEK); failed != nil {
			err = fmt.Errorf("it left before the answer: %d bytes, %w", n, failed)
		}
		left <- err
	}()
	lab.Eventually(t, "it is leaving", func() error {
		if !serving.leaving.Load() {
			return io.ErrNoProgress
		}
		return nil
	})
	close(fs.let)
	if err := <-left; err != nil {
		t.Fatal(err)
	}
	if unique, status := answered(t, kernel); unique != 2 || status != 0 {
		t.Errorf("answer %d, status %d", unique, status)
	}
	send(t, kernel, numbered(asked(opWrite, 2, fuse.WriteIn{Size: 1}, "x"), 4))
	if n, _, err := unix.Recvfrom(c.fd, make([]byte, 100), unix.MSG_DONTWAIT|unix.MSG_PEEK); err != nil {
		t.Errorf("the next request, of %d bytes, was taken: %v", n, err)
	}
	if err := c.Leave(); err != nil {
		t.Errorf("leaving twice: %v", err)
	}
	if err := c.Serve(fs, Options(), false); err != nil {
		t.Fatal(err)
	}
	if unique, _ := answered(t, kernel); unique != 4 {
		t.Errorf("answer %d", unique)
	}
	select {
	case <-c.Ended():
		t.Error("the mount has ended")
	default:
	}
	if err := c.Leave(); err != nil {
		t.Error(err)
	}
}

// TestLost finds the requests that a process had taken and not answered.
func TestLost(t *testing.T) {
	c, kernel := adopted(t)
	w := waiting{fuse.NewDefaultRawFileSystem(), make(chan struct{})}
	stuck := stuckWriter{w, make(chan struct{})}
	if err := c.Serve(stuck, Options(), false); err != nil {
		t.Fatal(err)
	}
	send(t, kernel, numbered(asked(opWrite, 2, fuse.WriteIn{Size: 1}, "x"), 2))
	answered(t, kernel)
	send(t, kernel, numbered(asked(opGetAttr, 2, fuse.GetAttrIn{}, ""), 4)) // waits
	send(t, kernel, numbered(asked(opGetAttr, 2, fuse.GetAttrIn{}, ""), 6)) // waits
	send(t, kernel, numbered(asked(opWrite, 2, fuse.WriteIn{Size: 1}, "wait"), 8))
	lab.Eventually(t, "all are taken", func() error {
		if lost := c.memory.lost(); !slices.Equal(lost, []uint64{8, 4, 6}) {
			return fmt.Errorf("lost would be %d", lost)
		}
		return nil
	})
	close(stuck.let)
	answered(t, kernel)
	close(w.written)
	answered(t, kernel)
	answered(t, kernel)
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	if lost := c.memory.lost(); len(lost) != 0 {
		t.Errorf("lost are %d", lost)
	}
}

// stuckWriter is a file system where a write of "wait" waits.
type stuckWriter struct {
	waiting
	let chan struct{}
}

func (s stuckWriter) Write(_ <-chan struct{}, _ *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if string(data) == "wait" {
		<-s.let
	}
	return uint32(len(data)), fuse.OK
}

// TestAnswerLost has requests come again, or else fail.
func TestAnswerLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags uint32
		want  [][2]int64 // numbers and statuses
	}{
		{"Linux 6.9", uint32(fuse.CAP_HAS_RESEND >> 32), [][2]int64{{0, notifyResend}}},
		{"before", 0, [][2]int64{{4, -int64(unix.EIO)}, {6, -int64(unix.EIO)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, kernel := adopted(t)
			conn.init.Flags2, conn.lost, conn.adopted = c.flags, []uint64{4, 6}, true
			conn.memory.shared.slow[1].Store(4)
			for range 2 { // once is enough
				conn.answerLost()
			}
			var got [][2]int64
			for {
				b := make([]byte, 100)
				n, _, err := unix.Recvfrom(kernel, b, unix.MSG_DONTWAIT)
				if err != nil {
					break
				}
				if n != headerOut || binary.NativeEndian.Uint32(b) != uint32(n) {
					t.Errorf("a message % x", b[:n])
				}
				got = append(got, [2]int64{int64(binary.NativeEndian.Uint64(b[8:])), int64(int32(binary.NativeEndian.Uint32(b[4:])))})
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("messages %d, want %d", got, c.want)
			}
			if lost := conn.memory.lost(); len(lost) != 0 {
				t.Errorf("lost are still %d", lost)
			}
		})
	}
}

func TestIsResent(t *testing.T) {
	for _, c := range []struct {
		unique, before uint64
		again          bool
	}{{2, 2, false}, {1<<63 | 2, 2, true}} {
		if before, again := IsResent(c.unique); before != c.before || again != c.again {
			t.Errorf("%#x: %d, %t", c.unique, before, again)
		}
	}
}
