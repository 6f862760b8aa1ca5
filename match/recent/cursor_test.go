package recent

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

var lineForm = regexp.MustCompile(`^src=\S+ ttl: \d+ last_seen: \d+ oldest_pkt: \d+( \d+,)* \d+$`)

// checkLines fails on a torn line and counts how often each address appears.
func checkLines(t *testing.T, text []byte) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		line, whole := strings.CutSuffix(line, "\n")
		src, _, _ := strings.Cut(line, " ")
		if !whole || !lineForm.MatchString(line) {
			t.Errorf("torn line %q", line)
		}
		seen[strings.TrimPrefix(src, "src=")]++
	}
	return seen
}

// filled is a table with n addresses, the i-th with i%20+1 stamps.
func filled(t *testing.T, n int) *world {
	w := newWorld(t, func(p *Params) { p.ListTot = 1 << 16 }, Classic)
	set := w.rule(Info{CheckSet: Set})
	for i := range n {
		for range i%20 + 1 {
			w.arrives(set, fmt.Sprintf("10.1.%d.%d", i>>8, i&255), 64)
		}
	}
	return w
}

func TestReadInPieces(t *testing.T) {
	w := filled(t, 1000)
	all := w.read(w.Table("t").Cursor(), 1<<20)
	if n := len(checkLines(t, all)); n != 1000 || bytes.Count(all, []byte("\n")) != 1000 {
		t.Fatalf("%d addresses, want 1000", n)
	}
	for _, size := range []int{1, 7, 64, 4095, 4096, 4097, 131072} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			if got := w.read(w.Table("t").Cursor(), size); !bytes.Equal(got, all) {
				t.Errorf("%d bytes, want %d, or others", len(got), len(all))
			}
		})
	}
}

func TestReadGivesWholeLines(t *testing.T) {
	w := filled(t, 1000)
	for _, c := range []struct {
		size  int
		whole bool
	}{{64, false}, {4096, true}, {5000, true}, {131072, true}} {
		buf := make([]byte, c.size)
		n, err := w.Table("t").Cursor().ReadAt(buf, 0)
		if err != nil {
			t.Fatal(err)
		}
		if whole := buf[n-1] == '\n'; whole != c.whole || !c.whole && n != c.size {
			t.Errorf("a read of %d gives %d bytes, up to a line's end: %v", c.size, n, whole)
		}
	}
}

func TestReadAnywhere(t *testing.T) {
	w := filled(t, 300)
	all := w.read(w.Table("t").Cursor(), 1<<20)
	c := w.Table("t").Cursor()
	for _, pos := range []int{0, 500, 499, 1, 0, len(all) - 1, 7, len(all), 20000} {
		buf := make([]byte, 50)
		n, err := c.ReadAt(buf, int64(pos))
		if err != nil {
			t.Fatal(err)
		}
		if want := all[pos:min(pos+50, len(all))]; !bytes.Equal(buf[:n], want) {
			t.Errorf("at %d: %q, want %q", pos, buf[:n], want)
		}
	}
	for _, pos := range []int64{int64(len(all)) + 1, 1 << 62, 1<<63 - 1} {
		if n, err := c.ReadAt(make([]byte, 50), pos); n != 0 || err != nil {
			t.Errorf("after the end, at %d: %d, %v", pos, n, err)
		}
	}
	if n, err := c.ReadAt(nil, 0); n != 0 || err != nil {
		t.Errorf("no bytes: %d, %v", n, err)
	}
}

// TestReadWhileChanging removes, adds and flushes between two reads.
func TestReadWhileChanging(t *testing.T) {
	w := filled(t, 300)
	c := w.Table("t").Cursor()
	buf := make([]byte, 4096)
	first, err := c.ReadAt(buf, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := append([]byte(nil), buf[:first]...)
	for i := range 100 { // gone: the first hundred; new: a hundred, in their slots
		if err := w.write("t", fmt.Sprintf("-10.1.0.%d", i)); err != nil {
			t.Fatal(err)
		}
		if err := w.write("t", fmt.Sprintf("+10.9.0.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		n, err := c.ReadAt(buf, int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		text = append(text, buf[:n]...)
	}
	seen := checkLines(t, text)
	for i := 100; i < 300; i++ {
		if src := fmt.Sprintf("10.1.%d.%d", i>>8, i&255); seen[src] != 1 {
			t.Errorf("%s stayed and appears %d times", src, seen[src])
		}
	}

	c = w.Table("t").Cursor()
	one, err := c.ReadAt(buf[:1], 0)
	if one != 1 || err != nil {
		t.Fatal(one, err)
	}
	if err := w.write("t", "/"); err != nil {
		t.Fatal(err)
	}
	n, err := c.ReadAt(buf, 1)
	if err != nil || bytes.Count(buf[:n], []byte("\n")) != 1 {
		t.Errorf("after a flush the open file ends with its line: %q, %v", buf[:n], err)
	}
}

// TestReadAmongChanges reads a table while another goroutine changes it: each
// address in turn is seen one tick after the last. The table fits into one read,
// which must show it as it was at one moment.
func TestReadAmongChanges(t *testing.T) {
	const addresses, reads = 20, 2000
	for _, c := range []struct {
		name string
		seen func(w *world, set *Rule, a *[16]byte)
	}{
		{"packets", func(w *world, set *Rule, a *[16]byte) {
			once(set, w.clock.Now(), unix.NFPROTO_IPV4, a, a, 64, false)
		}},
		{"writes", func(w *world, set *Rule, a *[16]byte) {
			if _, _, err := set.table.Write(addr.AppendPI4([]byte{'+'}, addr.Load(a)), 0); err != nil {
				w.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			set := w.rule(Info{CheckSet: Set})
			next := func(i int) {
				w.clock.Advance(time.Second / testHZ)
				c.seen(w, set, &[16]byte{192, 0, 2, byte(i % addresses)})
			}
			for i := range addresses {
				next(i)
			}
			done := make(chan struct{})
			var working sync.WaitGroup
			working.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
						next(i)
					}
				}
			})
			defer working.Wait()
			defer close(done)
			buf := make([]byte, AnswerSize)
			for range reads {
				n, err := w.Table("t").Cursor().ReadAt(buf, 0)
				if err != nil {
					t.Fatal(err)
				}
				var seen []int
				for line := range strings.Lines(string(buf[:n])) {
					tick, err := strconv.Atoi(strings.Fields(line)[4])
					if err != nil || !lineForm.MatchString(strings.TrimSpace(line)) {
						t.Fatalf("torn line %q", line)
					}
					seen = append(seen, tick)
				}
				if len(seen) != addresses || slices.Max(seen)-slices.Min(seen) != addresses-1 {
					t.Fatalf("addresses were last seen at %d, which is not one moment's view", seen)
				}
			}
		})
	}
}

// TestReadWhileTheTableGoes destroys a table while a goroutine reads it.
func TestReadWhileTheTableGoes(t *testing.T) {
	w := filled(t, 200)
	set := w.rule(Info{CheckSet: Set})
	table, c := w.Table("t"), w.Table("t").Cursor()
	begun := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 4096)
		for i := 0; ; i++ {
			if i == 100 {
				close(begun)
			}
			if _, err := c.ReadAt(buf, 0); err != nil {
				if err != syscall.EIO {
					t.Error(err)
				}
				return
			}
		}
	})
	<-begun
	for table.refs > 0 {
		w.Destroy(set)
	}
	reading.Wait()
}

func TestAppendStamps(t *testing.T) {
	for _, stamps := range [][]jiffies.Jiffies{
		{},
		{0},
		{9, 10, 9999, 10000, 10001, 9999, 0},
		{4294900005, 4294900050, 4294900500, 4294905000, 4294909999, 4294910000, 4294900005},
		{1<<64 - 1, 1<<64 - 2, 0, 1<<64 - 10000},
		{12345678, 2345678, 12345679},
	} {
		var text string
		for i, stamp := range stamps {
			if i > 0 {
				text += ","
			}
			text += " " + strconv.FormatUint(uint64(stamp), 10)
		}
		if got := appendStamps([]byte("oldest_pkt: 1"), stamps); string(got) != "oldest_pkt: 1"+text {
			t.Errorf("%d: %q", stamps, got)
		}
	}
}
