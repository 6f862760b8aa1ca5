package fs

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

	"recentfs/match/recent"
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

// answering is a loop without a kernel, over a registry with the table foo.
func answering(t testing.TB) (*loop, *recent.Table) {
	t.Helper()
	files, folder := newFilesystem()
	reg := emptyModule(t).NewRegistry(folder.Update)
	files.Init(&fuse.Server{}) // whose notifications go nowhere
	foo := table(t, reg, "foo")
	return newLoop(-1, files, options(), initIn()), foo
}

// ask answers a request and returns its result.
func (l *loop) ask(t testing.TB, m *message, in []byte) []byte {
	t.Helper()
	n := l.answer(m.in[:copy(m.in, in)], m.out)
	if n < headerOut || int(binary.NativeEndian.Uint32(m.out)) != n || binary.NativeEndian.Uint64(m.out[8:]) != 7 {
		t.Fatalf("answer of %d bytes: % x", n, m.out[:max(n, headerOut)])
	}
	if status := int32(binary.NativeEndian.Uint32(m.out[4:])); status != 0 {
		t.Fatalf("status %v", unix.Errno(-status))
	}
	return m.out[headerOut:n]
}

func TestEchoAllocates(t *testing.T) {
	l, foo := answering(t)
	m := l.messages.Get().(*message)
	l.ask(t, m, asked(opLookup, fuse.FUSE_ROOT_ID, fuse.InHeader{}, "foo\x00"))
	open := asked(opOpen, 1+foo.ID(), fuse.OpenIn{Flags: unix.O_WRONLY | unix.O_TRUNC}, "")
	fh := binary.NativeEndian.Uint64(l.ask(t, m, open))
	write := asked(opWrite, 1+foo.ID(), fuse.WriteIn{Fh: fh, Size: 9}, "+1.2.3.4\n")
	if n := testing.AllocsPerRun(100, func() { l.ask(t, m, write) }); n != 0 {
		t.Errorf("a write allocates %v times", n)
	}
	if foo.Len() != 1 {
		t.Errorf("%d addresses, want 1", foo.Len())
	}
	// The one allocation is the handle.
	n := testing.AllocsPerRun(100, func() {
		fh := binary.NativeEndian.Uint64(l.ask(t, m, open))
		(*fuse.ReleaseIn)(unsafe.Pointer(&release[0])).Fh = fh
		l.ask(t, m, release)
	})
	if n > 1 {
		t.Errorf("an open and a release allocate %v times", n)
	}
}

func TestEchoIsAsGoFuse(t *testing.T) {
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
		{"poll file", asked(opOpen, pollNode, fuse.OpenIn{}, "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got [2]string
			for i := range got {
				l, foo := answering(t)
				if 1+foo.ID() != 2 {
					t.Fatal("foo is another node")
				}
				l.log = i == 1
				m := l.messages.Get().(*message)
				l.ask(t, m, asked(opLookup, fuse.FUSE_ROOT_ID, fuse.InHeader{}, "foo\x00"))
				l.ask(t, m, asked(opOpen, 2, fuse.OpenIn{Flags: unix.O_WRONLY}, ""))
				got[i] = string(m.out[:l.answer(m.in[:copy(m.in, c.in)], m.out)])
			}
			if got[0] != got[1] {
				t.Errorf("% x\nwant % x", got[0], got[1])
			}
		})
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
		l := newLoop(pair[1], waiting{fuse.NewDefaultRawFileSystem(), make(chan struct{})}, options(), initIn())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.run()
		}()
		for _, in := range [][]byte{
			asked(3, fuse.FUSE_ROOT_ID, fuse.GetAttrIn{}, ""),
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

// FuzzRequest answers what no kernel sends. The first byte is the opcode, the
// second the node, and the others come after a header made of them.
func FuzzRequest(f *testing.F) {
	defer log.SetOutput(os.Stderr)
	f.Fuzz(func(t *testing.T, opcode, node byte, body []byte) {
		var logged strings.Builder // by reportPanic, and go-fuse about what is too short
		log.SetOutput(&logged)
		l, _ := answering(t)
		m := l.messages.Get().(*message)
		l.ask(t, m, asked(opLookup, fuse.FUSE_ROOT_ID, fuse.InHeader{}, "foo\x00"))
		in := asked(uint32(opcode), uint64(node), fuse.InHeader{}, string(body[:min(len(body), 1000)]))
		short(in)
		n := l.answer(m.in[:copy(m.in, in)], m.out)
		if n != 0 && (n < headerOut || n > len(m.out) || int(binary.NativeEndian.Uint32(m.out)) != n) {
			t.Fatalf("answer of %d bytes: % x", n, m.out[:headerOut])
		}
		if strings.Contains(logged.String(), "please report this") {
			t.Fatal(logged.String())
		}
	})
}
