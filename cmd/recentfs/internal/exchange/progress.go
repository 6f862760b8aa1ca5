package exchange

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Progress shows on a terminal how much of something long was read.
type Progress struct {
	w     io.Writer // nil: nobody looks
	now   func() time.Time
	next  time.Time // when to show again
	shown bool
}

const (
	progressAfter = time.Second
	progressEvery = 100 * time.Millisecond
	progressWidth = 30 // of the bar
	eraseLine     = "\r\x1b[K"
)

// NewProgress shows on f if that is a terminal, from a second on.
func NewProgress(f *os.File) *Progress {
	p := &Progress{now: time.Now}
	if IsTerminal(f) {
		p.w = f
	}
	p.next = p.now().Add(progressAfter)
	return p
}

// IsTerminal tells whether somebody looks at a file, or types it.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Of returns r, and shows what is done while it is read. size is how many bytes r
// has, or 0 if nobody knows.
func (p *Progress) Of(what string, r io.Reader, size int64) io.Reader {
	if p.w == nil {
		return r
	}
	return &shown{p, r, what, size, 0}
}

// End erases what is shown.
func (p *Progress) End() {
	if p.shown {
		io.WriteString(p.w, eraseLine)
		p.shown = false
	}
}

// shown is a reader whose progress is shown.
type shown struct {
	*Progress
	io.Reader
	what string
	size int64
	done int64
}

// Read implements io.Reader.
func (s *shown) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	s.done += int64(n)
	if now := s.now(); !now.Before(s.next) {
		s.next = now.Add(progressEvery)
		s.shown = true
		fmt.Fprint(s.w, eraseLine+s.what+" "+s.text())
	}
	return n, err
}

// text is a bar, where the end is known.
func (s *shown) text() string {
	if s.size <= 0 {
		return fmt.Sprintf("%d MB", s.done>>20)
	}
	done := min(s.done, s.size)
	full := int(done * progressWidth / s.size)
	return fmt.Sprintf("[%s%s] %d %%", strings.Repeat("#", full), strings.Repeat(".", progressWidth-full), done*100/s.size)
}
