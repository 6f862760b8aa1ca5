package device

import (
	"encoding/binary"
	"log"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// asked is a request as the kernel sends it: the header, a structure whose own
// header is left out, and the rest.
func asked[T any](opcode uint32, node uint64, body T, rest string) []byte {
	h := fuse.InHeader{Opcode: opcode, Unique: 7, NodeId: node}
	size := int(unsafe.Sizeof(body))
	msg := make([]byte, max(size, headerIn)+len(rest))
	copy(msg, unsafe.Slice((*byte)(unsafe.Pointer(&body)), size))
	h.Length = uint32(len(msg))
	*header(msg) = h
	copy(msg[len(msg)-len(rest):], rest)
	return msg
}

// release is the end of an open file that was not for reading.
var release = asked(opRelease, 2, fuse.ReleaseIn{Flags: unix.O_WRONLY}, "")

// initIn is the INIT of a recent kernel.
func initIn() *fuse.InitIn {
	in := &fuse.InitIn{Major: 7, Minor: 45}
	*header(unsafe.Slice((*byte)(unsafe.Pointer(in)), unsafe.Sizeof(*in))) = fuse.InHeader{Opcode: 26, Length: uint32(unsafe.Sizeof(*in))}
	return in
}

// file is a file system with one file, node 2, that can be written, and takes
// what begins with a sign.
type file struct{ fuse.RawFileSystem }

func (file) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.NodeId != 2 {
		return fuse.Status(unix.ESTALE)
	}
	out.Fh, out.OpenFlags = 1, fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

func (file) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	switch {
	case in.Fh != 1:
		return 0, fuse.EBADF
	case len(data) == 0 || data[0] != '+':
		return 0, fuse.EINVAL
	}
	return uint32(len(data)), fuse.OK
}

// answering is a loop over a file system, without a kernel.
func answering(fs fuse.RawFileSystem) *loop { return loopOn(-1, fs) }

// loopOn is a loop over a file system that has agreed with the kernel.
func loopOn(fd int, fs fuse.RawFileSystem) *loop {
	l, _ := newLoop(fd, fs, Options(), initIn())
	return l
}

// ask answers a request and returns its result.
func (l *loop) ask(t testing.TB, in, out []byte) []byte {
	t.Helper()
	n := l.answer(in, out)
	if n < headerOut || int(binary.NativeEndian.Uint32(out)) != n || binary.NativeEndian.Uint64(out[8:]) != 7 {
		t.Fatalf("answer of %d bytes: % x", n, out[:max(n, headerOut)])
	}
	if status := int32(binary.NativeEndian.Uint32(out[4:])); status != 0 {
		t.Fatalf("status %v", unix.Errno(-status))
	}
	return out[headerOut:n]
}

func TestAnswerFastAllocates(t *testing.T) {
	l, out := answering(file{fuse.NewDefaultRawFileSystem()}), *newAnswer(smallAnswer)
	open := asked(opOpen, 2, fuse.OpenIn{Flags: unix.O_WRONLY | unix.O_TRUNC}, "")
	write := asked(opWrite, 2, fuse.WriteIn{Fh: 1, Size: 9}, "+1.2.3.4\n")
	n := testing.AllocsPerRun(100, func() {
		l.ask(t, open, out)
		l.ask(t, write, out)
		l.ask(t, release, out)
	})
	if n != 0 {
		t.Errorf("an open, a write and a release allocate %v times", n)
	}
}

func TestAnswerFastIsAsGoFuse(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
	}{
		{"open", asked(opOpen, 2, fuse.OpenIn{Flags: unix.O_WRONLY}, "")},
		{"open of a node that is not there", asked(opOpen, 9, fuse.OpenIn{Flags: unix.O_WRONLY}, "")},
		{"write", asked(opWrite, 2, fuse.WriteIn{Fh: 1, Size: 9}, "+1.2.3.4\n")},
		{"write that is refused", asked(opWrite, 2, fuse.WriteIn{Fh: 1, Size: 1}, "x")},
		{"write to a handle that is not there", asked(opWrite, 2, fuse.WriteIn{Fh: 9, Size: 1}, "/")},
		{"release", release},
		{"short", asked(opWrite, 2, fuse.InHeader{}, "")},
		{"go-fuse's own file", asked(opOpen, goFuseNode, fuse.OpenIn{}, "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got [2]string
			for i := range got {
				l, out := answering(file{fuse.NewDefaultRawFileSystem()}), *newAnswer(smallAnswer)
				l.log = i == 1
				got[i] = string(out[:l.answer(c.in, out)])
			}
			if got[0] != got[1] {
				t.Errorf("% x\nwant % x", got[0], got[1])
			}
		})
	}
}

// The kernel sends an INTERRUPT again and again, before any request, as long as
// the answer is EAGAIN.
func TestInterruptsEnd(t *testing.T) {
	for _, logs := range []bool{false, true} {
		l, out := answering(file{fuse.NewDefaultRawFileSystem()}), *newAnswer(smallAnswer)
		l.log = logs
		in := asked(opInterrupt, 0, fuse.InterruptIn{Unique: 4}, "")
		n := l.answer(in, out)
		if status := int32(binary.NativeEndian.Uint32(out[4:])); n != headerOut || unix.Errno(-status) != unix.ENOSYS {
			t.Errorf("log %v: answer of %d bytes, %v, want ENOSYS", logs, n, unix.Errno(-status))
		}
		if !isQuick(in) {
			t.Errorf("an INTERRUPT hands the reading over")
		}
	}
}

// waiting is a file system where GETATTR waits for a write.
type waiting struct {
	fuse.RawFileSystem
	written chan struct{}
}

func (w waiting) GetAttr(<-chan struct{}, *fuse.GetAttrIn, *fuse.AttrOut) fuse.Status {
	<-w.written
	return fuse.OK
}

func (w waiting) Write(<-chan struct{}, *fuse.WriteIn, []byte) (uint32, fuse.Status) {
	close(w.written)
	return 0, fuse.OK
}

func TestSomebodyReads(t *testing.T) {
	for _, processors := range []int{1, runtime.GOMAXPROCS(0)} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		// A pair of sockets keeps messages apart, as the device does.
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		kernel := os.NewFile(uintptr(pair[0]), "kernel")
		defer unix.Close(pair[1])
		unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
		l := loopOn(pair[1], waiting{fuse.NewDefaultRawFileSystem(), make(chan struct{})})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.run()
		}()
		for _, in := range [][]byte{
			asked(opGetAttr, fuse.FUSE_ROOT_ID, fuse.GetAttrIn{}, ""),
			asked(opWrite, fuse.FUSE_ROOT_ID, fuse.WriteIn{}, "x"),
		} {
			if _, err := kernel.Write(in); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if _, err := kernel.Read(make([]byte, 1000)); err != nil {
				t.Fatalf("%d processors: no answer: %v", processors, err)
			}
		}
		kernel.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d processors: the loop goes on after the end", processors)
		}
	}
}

// FuzzAnswer answers what no kernel sends. The first byte is the opcode, the
// second the node, and the others come after a header made of them.
func FuzzAnswer(f *testing.F) {
	defer log.SetOutput(os.Stderr)
	f.Fuzz(func(t *testing.T, opcode, node byte, body []byte) {
		var logged strings.Builder // by reportPanic, and go-fuse about what is too short
		log.SetOutput(&logged)
		l, out := answering(file{fuse.NewDefaultRawFileSystem()}), *newAnswer(largeAnswer)
		in := asked(uint32(opcode), uint64(node), fuse.InHeader{}, string(body[:min(len(body), 1000)]))
		isQuick(in)
		n := l.answer(in, out)
		if n != 0 && (n < headerOut || n > len(out) || int(binary.NativeEndian.Uint32(out)) != n) {
			t.Fatalf("answer of %d bytes: % x", n, out[:headerOut])
		}
		if strings.Contains(logged.String(), "please report this") {
			t.Fatal(logged.String())
		}
	})
}
