package daemon

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// stuck is an output that nobody reads until it is let go.
type stuck struct {
	free chan struct{}
	text bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	return s.text.Write(p)
}

// TestLogWriterNeverWaits logs more lines than can wait while nobody reads.
func TestLogWriterNeverWaits(t *testing.T) {
	out := &stuck{free: make(chan struct{})}
	w := NewLogWriter(out)
	line := []byte("line\n")
	for range 2 * logLines {
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	copy(line, "gone\n") // the writer keeps lines of its own
	close(out.free)
	w.Close()
	<-w.done
	text := out.text.String()
	if n := strings.Count(text, "line\n"); n < logLines || n > logLines+1 {
		t.Errorf("%d lines of %d, want those that could wait", n, 2*logLines)
	}
	if !strings.Contains(text, " lines were not logged: nobody read fast enough, or there was no room\n") || strings.Contains(text, "gone") {
		t.Errorf("%.200s", text)
	}
}

// small is a file on a disk that gets full.
type small struct {
	room int
	text bytes.Buffer
}

func (s *small) Write(p []byte) (int, error) {
	n, err := min(len(p), s.room), error(nil)
	if n < len(p) {
		err = unix.ENOSPC
	}
	s.room -= n
	s.text.Write(p[:n])
	return n, err
}

// TestLogWriterFullDisk counts the lines for which there is no space.
func TestLogWriterFullDisk(t *testing.T) {
	out := &small{room: 9}
	w := NewLogWriter(out)
	log := func(line string) {
		if _, err := w.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		log("line\n")
	}
	w.Flush()
	out.room = 1 << 10
	log("last\n")
	w.Close()
	<-w.done
	const want = "line\nline\n2 lines were not logged: nobody read fast enough, or there was no room\nlast\n"
	if got := out.text.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
