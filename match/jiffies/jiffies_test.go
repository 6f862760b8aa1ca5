package jiffies

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestAfterWraps(t *testing.T) {
	for _, c := range []struct {
		name string
		j, k Jiffies
		want bool
	}{
		{"later", 2, 1, true},
		{"same", 1, 1, false},
		{"earlier", 1, 2, false},
		{"later across the wrap", 3, 1<<64 - 3, true},
		{"earlier across the wrap", 1<<64 - 3, 3, false},
		{"half of all away", 1 << 63, 0, true},
		{"half of all away, the other way round", 0, 1 << 63, true},
		{"just less than half", 1<<63 - 1, 0, true},
		{"just more than half", 1<<63 + 1, 0, false},
	} {
		if got := c.j.After(c.k); got != c.want {
			t.Errorf("%s: Jiffies(%d).After(%d) = %v", c.name, c.j, c.k, got)
		}
	}
}

func TestTicksAndDuration(t *testing.T) {
	for _, c := range []struct {
		d     time.Duration
		hz    uint32
		ticks uint64
	}{
		{0, 250, 0},
		{-time.Second, 250, 0},
		{4*time.Millisecond - 1, 250, 0},
		{4 * time.Millisecond, 250, 1},
		{time.Minute, 300, 18000},
		{time.Second - 1, 1000, 999},
		{200 * 365 * 24 * time.Hour, 1000, 200 * 365 * 24 * 3600 * 1000},
	} {
		if got := Ticks(c.d, c.hz); got != c.ticks {
			t.Errorf("Ticks(%v, %d) = %d, want %d", c.d, c.hz, got, c.ticks)
		}
	}
	for _, c := range []struct {
		n    int64
		hz   uint32
		want time.Duration
	}{
		{250, 250, time.Second},
		{-1, 250, -4 * time.Millisecond},
		{1<<63 - 1, 100, 1<<63 - 1},
		{-1 << 63, 100, -1 << 63},
		{9223372036, 1, 1<<63 - 1},
		{9223372035, 1, 9223372035 * time.Second},
		{-9223372035, 1, -9223372035 * time.Second},
		{-9223372036, 1, -1 << 63},
	} {
		if got := Duration(c.n, c.hz); got != c.want {
			t.Errorf("Duration(%d, %d) = %v, want %v", c.n, c.hz, got, c.want)
		}
	}
}

func TestManual(t *testing.T) {
	m := NewManual(1<<64-1, 100)
	if m.Now() != 1<<64-1 || m.HZ() != 100 {
		t.Errorf("a new clock shows %d at HZ %d", m.Now(), m.HZ())
	}
	m.Advance(25 * time.Millisecond)
	if m.Now() != 1 {
		t.Errorf("two ticks past the last jiffy it is %d, want 1", m.Now())
	}
	m.Set(7)
	if m.Now() != 7 {
		t.Errorf("set to 7 it shows %d", m.Now())
	}
}

func TestReadOffset(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Jiffies
		ok         bool
	}{
		{"as the kernel writes it", "Timer List Version: v0.10\nnow at 4000000000 nsecs\n\ncpu: 0\n  .jiffies: 1\njiffies: 4294893296\n", 4294892296, true},
		{"ticks were lost at boot", "now at 8000000 nsecs\njiffies: 1\n", 1<<64 - 1, true},
		{"no jiffies", "now at 4000000000 nsecs\n", 0, false},
		{"jiffies before the time", "jiffies: 5\nnow at 1 nsecs\n", 0, false},
		{"not a number", "now at soon nsecs\njiffies: 5\n", 0, false},
		{"empty", "", 0, false},
	} {
		got, ok := readOffset(strings.NewReader(c.text), 250)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestMedian(t *testing.T) {
	for want, offsets := range map[Jiffies][]Jiffies{7: {7}, 5: {4, 6, 5}, 10: {12, 10, 11, 10, 9, 10, 10, 3, 10}} {
		if got := median(offsets); got != want {
			t.Errorf("the median of %d is %d, want %d", offsets, got, want)
		}
	}
}

// TestRate has the ticks of all HZ that a kernel can be built with.
func TestRate(t *testing.T) {
	for tick, want := range map[int64]uint32{
		10000000: 100, 7812500: 128, 4000000: 250, 3906250: 256, 3333333: 300, 1000000: 1000, 976563: 1024,
		400000000: 3, 1e9: 1, 1: 1e9, // none of Linux, but in range
		0: 0, -1: 0, 1e9 + 1: 0,
	} {
		if got, err := rate(tick); got != want || (err == nil) != (want != 0) {
			t.Errorf("a tick of %d ns: HZ %d, %v, want %d", tick, got, err, want)
		}
	}
}

func TestInitialJiffies(t *testing.T) {
	if got := initialJiffies(250); got != 1<<32-75000 {
		t.Errorf("at HZ 250 the kernel starts at %d, not %d", 1<<32-75000, got)
	}
}

// TestSystemAgainstKernel holds the clock to the kernel's own jiffies, as
// /proc/timer_list shows them, read between two readings of the clock.
func TestSystemAgainstKernel(t *testing.T) {
	s, err := NewSystem()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Fatal("only root may read " + timerList)
	}
	for range 20 {
		before := s.Now()
		text, err := os.ReadFile(timerList)
		if err != nil {
			t.Fatal(err)
		}
		after := s.Now()
		// At time 0 the offset that readOffset finds is the jiffies themselves.
		line := text[strings.LastIndex(string(text), "\njiffies: "):]
		offset, ok := readOffset(strings.NewReader("now at 0 nsecs"+string(line)), s.HZ())
		if !ok {
			t.Fatal("no jiffies in " + timerList)
		}
		if before.Sub(offset) > 1 || offset.Sub(after) > 1 {
			t.Errorf("the kernel's jiffies %d are not within one of %d to %d", offset, before, after)
		}
	}
}

func TestNowDoesNotAllocate(t *testing.T) {
	s, err := NewSystem()
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { s.Now() }); n != 0 {
		t.Errorf("Now allocates %v times", n)
	}
}

func TestReadShift(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       time.Duration
	}{
		{"as the kernel writes it", "monotonic      100000         5\nboottime       7         0\n", 100000*time.Second + 5},
		{"back", "monotonic         -20 999999999\nboottime  0 0\n", -20*time.Second + 999999999},
		{"none", "monotonic           0         0\nboottime            0         0\n", 0},
		{"no such clock", "boottime 5 0\n", 0},
		{"no number", "monotonic far away\n", 0},
	} {
		if got := readShift([]byte(c.text)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestTimeNamespace has a process whose CLOCK_MONOTONIC is a day ahead. Its clock is
// the kernel's all the same.
func TestTimeNamespace(t *testing.T) {
	cmd := exec.Command("unshare", "--time", "--monotonic", "86400", "--boottime", "86400",
		os.Args[0], "-test.run", "^(TestSystemAgainstKernel|TestSystemWall)$", "-test.count=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
