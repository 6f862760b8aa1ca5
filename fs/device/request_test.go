package device

import (
	"encoding/binary"
	"log"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// TestIsQuick has requests that the reader answers by itself, and others.
func TestIsQuick(t *testing.T) {
	open := func(flags uint32) []byte { return asked(opOpen, 2, fuse.OpenIn{Flags: flags}, "") }
	for _, c := range []struct {
		name string
		in   []byte
		want bool
	}{
		{"open for writing", open(unix.O_WRONLY), true},
		{"open for appending", open(unix.O_WRONLY | unix.O_APPEND | unix.O_TRUNC | unix.O_CLOEXEC), true},
		{"open for reading", open(unix.O_RDONLY), false},
		{"open for reading, other flags", open(unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC), false},
		{"open for both", open(unix.O_RDWR), false},
		{"open that is too short", asked(opOpen, 2, fuse.InHeader{}, ""), false},
		{"lookup", asked(opLookup, 1, fuse.InHeader{}, "foo\x00"), true},
		{"forget", asked(opForget, 2, fuse.ForgetIn{}, ""), true},
		{"forget of many", asked(opBatchForget, 0, fuse.InHeader{}, ""), true},
		{"write", asked(opWrite, 2, fuse.WriteIn{}, "/"), true},
		{"release", release, true},
		{"interrupt", asked(opInterrupt, 0, fuse.InterruptIn{}, ""), true},
		{"read", asked(opRead, 2, fuse.ReadIn{}, ""), false},
		{"attributes", asked(opGetAttr, 2, fuse.GetAttrIn{}, ""), false},
		{"listing", asked(opReadDir, 1, fuse.ReadIn{}, ""), false},
	} {
		if got := isQuick(c.in); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestAwake keeps the reader awake only where there is another processor for
// whoever asks.
func TestAwake(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for processors, want := range map[int]time.Duration{1: 0, 2: awake, 3: awake} {
		runtime.GOMAXPROCS(processors)
		if l := answering(file{fuse.NewDefaultRawFileSystem()}); l.awake != want {
			t.Errorf("%d processors: awake for %v, want %v", processors, l.awake, want)
		}
	}
}

// broken is a file system whose answers fail.
type broken struct{ fuse.RawFileSystem }

func (broken) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { panic("no open") }

func (broken) GetAttr(<-chan struct{}, *fuse.GetAttrIn, *fuse.AttrOut) fuse.Status {
	panic("no attributes")
}

// TestPanic answers with EIO what fails, and goes on.
func TestPanic(t *testing.T) {
	defer log.SetOutput(os.Stderr)
	for name, in := range map[string][]byte{
		"no open":       asked(opOpen, 2, fuse.OpenIn{Flags: unix.O_WRONLY}, ""),
		"no attributes": asked(opGetAttr, 2, fuse.GetAttrIn{}, ""),
	} {
		var logged strings.Builder
		log.SetOutput(&logged)
		l, out := answering(broken{fuse.NewDefaultRawFileSystem()}), *newAnswer(smallAnswer)
		for range 2 {
			n := l.answer(in, out)
			if status := int32(binary.NativeEndian.Uint32(out[4:])); n != headerOut || unix.Errno(-status) != unix.EIO {
				t.Errorf("%s: answer of %d bytes, %v, want EIO", name, n, unix.Errno(-status))
			}
		}
		if want := "please report this: " + name; strings.Count(logged.String(), want) != 2 {
			t.Errorf("the log is %q, want %q twice", logged.String(), want)
		}
	}
}
