package daemon

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// LogWriter writes log lines from a goroutine of its own, so that nobody who
// logs waits for the reader of the log. While logLines lines wait, it drops
// further ones and counts them, as it does with lines that cannot be written.
type LogWriter struct {
	lines   chan []byte // nil asks for an answer on flushed
	flushed chan struct{}
	dropped atomic.Uint64
	torn    bool          // a part of the last line is written; only the goroutine uses it
	done    chan struct{} // closed when all lines are written
}

const (
	logLines = 1024
	// closeTime is how long Close and Flush wait for the reader of the log.
	closeTime = time.Second
)

// NewLogWriter returns a LogWriter that writes to w.
func NewLogWriter(w io.Writer) *LogWriter {
	l := &LogWriter{lines: make(chan []byte, logLines), flushed: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for line := range l.lines {
			if line == nil {
				l.flushed <- struct{}{}
				continue
			}
			if n := l.dropped.Swap(0); n > 0 {
				l.write(w, fmt.Appendf(nil, "%d lines were not logged: nobody read fast enough, or there was no room\n", n), n)
			}
			l.write(w, line, 1)
		}
	}()
	return l
}

// write writes a line, which stands for so many if it cannot be written.
func (l *LogWriter) write(w io.Writer, line []byte, stands uint64) {
	if l.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := w.Write(line)
	if err != nil {
		l.dropped.Add(stands)
	}
	if n > 0 {
		l.torn = n < len(line)
	}
}

// Write implements io.Writer. logrus calls it once a line, and then uses the
// line's memory again.
func (l *LogWriter) Write(line []byte) (int, error) {
	select {
	case l.lines <- bytes.Clone(line):
	default:
		l.dropped.Add(1)
	}
	return len(line), nil
}

// Flush waits until the lines so far are written, but for closeTime at most. It
// may be called once.
func (l *LogWriter) Flush() {
	select {
	case l.lines <- nil:
	default:
		return // the reader of the log is too slow to wait for
	}
	select {
	case <-l.flushed:
	case <-time.After(closeTime):
	}
}

// Close writes the lines that wait, and reports whether they are written. Nobody may
// call Write after it.
func (l *LogWriter) Close() bool {
	close(l.lines)
	select {
	case <-l.done:
		return true
	case <-time.After(closeTime):
		return false
	}
}
