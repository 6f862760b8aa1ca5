package device

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// crowd is a file system whose READ waits, and counts how many do.
type crowd struct {
	fuse.RawFileSystem
	reading chan struct{} // gets an element for each READ that began
	let     chan struct{} // closed to let them end
}

func (c crowd) Read(<-chan struct{}, *fuse.ReadIn, []byte) (fuse.ReadResult, fuse.Status) {
	c.reading <- struct{}{}
	<-c.let
	return fuse.ReadResultData(nil), fuse.OK
}

// crowdAtStat is one whose GETATTR waits too.
type crowdAtStat struct{ crowd }

func (c crowdAtStat) GetAttr(<-chan struct{}, *fuse.GetAttrIn, *fuse.AttrOut) fuse.Status {
	c.reading <- struct{}{}
	<-c.let
	return fuse.OK
}

// TestAnswersAreBounded has more requests under way than may hold the memory of an
// answer. Those that wait need no goroutine. Other requests are answered meanwhile.
func TestAnswersAreBounded(t *testing.T) {
	read := func(size uint32) []byte { return asked(opRead, 2, fuse.ReadIn{Size: size}, "") }
	for _, c := range []struct {
		name string
		in   []byte
		most int
	}{
		{"small", asked(opGetAttr, 2, fuse.GetAttrIn{}, ""), maxSmall},
		{"large", read(largeAnswer - uint32(headerOut)), maxLarge},
		{"huge", read(largeAnswer - uint32(headerOut) + 1), maxHuge},
		{"the largest", read(MaxRead), maxHuge},
	} {
		t.Run(c.name, func(t *testing.T) { testBound(t, c.in, c.most) })
	}
}

func testBound(t *testing.T, in []byte, most int) {
	reads := 2*most + 10
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	kernel := os.NewFile(uintptr(pair[0]), "kernel")
	defer unix.Close(pair[1])
	c := crowd{fuse.NewDefaultRawFileSystem(), make(chan struct{}, reads), make(chan struct{})}
	small := header(in).Opcode == opGetAttr
	l := loopOn(pair[1], c)
	if small {
		l = loopOn(pair[1], crowdAtStat{c})
	}
	wait := unix.NsecToTimeval(int64(lab.Patience))
	if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run()
	}()
	answer := make([]byte, 1000)
	send := func(in []byte) {
		t.Helper()
		if _, err := kernel.Write(in); err != nil {
			t.Fatal(err)
		}
	}
	before := runtime.NumGoroutine()
	for range reads {
		send(in)
	}
	// The answer to this one comes when all others were taken.
	send(asked(opWrite, 2, fuse.WriteIn{Size: 1}, "x"))
	if _, err := kernel.Read(answer); err != nil {
		t.Fatal(err)
	}
	if !small { // nor does a GETATTR wait for a READ
		send(asked(opGetAttr, 2, fuse.GetAttrIn{}, ""))
		if _, err := kernel.Read(answer); err != nil {
			t.Fatal(err)
		}
	}
	for range most {
		<-c.reading
	}
	select {
	case <-c.reading:
		t.Errorf("more than %d requests hold memory for an answer", most)
	default:
	}
	lab.Eventually(t, "the others need no goroutine", func() error { // that of the GETATTR may just end
		if n := runtime.NumGoroutine() - before; n > most {
			return fmt.Errorf("%d goroutines answer %d requests, want %d", n, reads, most)
		}
		return nil
	})
	close(c.let)
	for range reads {
		if _, err := kernel.Read(answer); err != nil {
			t.Fatal(err)
		}
	}
	send(in) // and one that need not wait
	if _, err := kernel.Read(answer); err != nil {
		t.Fatal(err)
	}
	kernel.Close()
	<-ended
}
