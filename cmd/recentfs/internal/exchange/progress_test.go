package exchange

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// TestProgress reads ten pieces, each of which takes a while.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		name  string
		each  time.Duration
		size  int64
		lines int    // that are shown
		last  string // of them
	}{
		{"quick", 50 * time.Millisecond, 100, 0, ""},
		{"slow", 300 * time.Millisecond, 100, 7, "reading [##############################] 100 %"},
		{"of unknown size", 300 * time.Millisecond, 0, 7, "reading 0 MB"},
		{"of another size than it was", 300 * time.Millisecond, 50, 7, "reading [##############################] 100 %"},
		{"a bar for every tenth of a second", 120 * time.Millisecond, 200, 2, "reading [###############...............] 50 %"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			now := time.Unix(0, 0)
			p := &Progress{w: &out, now: func() time.Time { return now }, next: now.Add(progressAfter)}
			r := p.Of("reading", strings.NewReader(strings.Repeat("x", 100)), c.size)
			for range 10 {
				now = now.Add(c.each)
				if n, err := r.Read(make([]byte, 10)); n != 10 || err != nil {
					t.Fatal(n, err)
				}
			}
			shown := strings.Split(out.String(), eraseLine)[1:]
			if len(shown) != c.lines || c.lines > 0 && shown[len(shown)-1] != c.last {
				t.Errorf("it shows %q", shown)
			}
			out.Reset()
			p.End()
			if erased := out.String() == eraseLine; erased != (c.lines > 0) {
				t.Errorf("at the end it prints %q", out.String())
			}
		})
	}
}

// TestProgressWithoutTerminal shows nothing in a file.
func TestProgressWithoutTerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := NewProgress(f)
	if r := io.Reader(f); p.Of("reading", r, 1) != r {
		t.Error("it counts where nobody looks")
	}
	p.End()
}
