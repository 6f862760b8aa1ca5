package daemon

import (
	"bytes"
	"strings"
	"testing"
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
	if !strings.Contains(text, " lines were not logged: nobody read fast enough\n") || strings.Contains(text, "gone") {
		t.Errorf("%.200s", text)
	}
}
