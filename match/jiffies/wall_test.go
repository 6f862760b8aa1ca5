package jiffies

import (
	"strings"
	"testing"
	"time"
)

// TestWall takes ticks to the wall clock and back, by way of microseconds, as in a
// file.
func TestWall(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 123456789, time.UTC)
	for _, hz := range []uint32{100, 250, 300, 1000, 1024} {
		w := Wall{HZ: hz, At: 1<<32 - 300*Jiffies(hz), Time: noon}
		for _, ticks := range []int64{0, 1, 2, 3, 299, 12345678, 1<<36 + 1, -1, -2, -7, -12345679, -(1<<31 - 1), -1 << 31} {
			j := w.At + Jiffies(ticks)
			if got := w.Jiffies(w.When(j).Round(time.Microsecond)); got != j {
				t.Errorf("HZ %d: %d ticks come back as %d", hz, ticks, got.Sub(w.At))
			}
		}
		for _, age := range []time.Duration{1 << 31 * time.Second / time.Duration(hz), 100 * 365 * 24 * time.Hour, 1<<63 - 1} {
			if got := w.Jiffies(noon.Add(-age)); got.Sub(w.At) != -1<<31 {
				t.Errorf("HZ %d: %v ago is %d ticks ago", hz, age, -got.Sub(w.At))
			}
		}
	}
	w := Wall{HZ: 100, At: 1000, Time: noon}
	for ms, want := range map[int64]Jiffies{0: 1000, 4: 1000, 5: 1001, 14: 1001, -4: 1000, -6: 999, -14: 999, -16: 998} {
		if got := w.Jiffies(noon.Add(time.Duration(ms) * time.Millisecond)); got != want {
			t.Errorf("%d ms later it is %d, want %d", ms, got, want)
		}
	}
}

func TestReadRealtimeOffset(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       time.Duration
		ok         bool
	}{
		{"as the kernel writes it", "now at 1 nsecs\n\ncpu: 0\n clock 0:\n  .offset:     0 nsecs\nactive timers:\n clock 1:\n  .index:      1\n  .offset:     1795958633216604191 nsecs\n clock 2:\n  .offset:     7 nsecs\n", 1795958633216604191, true},
		{"no such clock", " clock 0:\n  .offset:     5 nsecs\n clock 2:\n  .offset:     6 nsecs\n", 0, false},
		{"no offset", " clock 1:\n clock 2:\n  .offset:     6 nsecs\n", 0, false},
		{"no number", " clock 1:\n  .offset:     many nsecs\n", 0, false},
		{"empty", "", 0, false},
	} {
		if got, ok := readRealtimeOffset(strings.NewReader(c.text)); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %d, %v", c.name, got, ok)
		}
	}
}

// TestSystemWall has two clocks that agree exactly, and with the time of day.
func TestSystemWall(t *testing.T) {
	s, err := NewSystem()
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Wall()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := s.Wall(); err != nil || !again.Time.Equal(first.Time) {
			t.Errorf("%v, then %v, %v", first.Time, again.Time, err)
		}
	}
	tick := time.Second / time.Duration(s.HZ())
	before := time.Now().Add(-2 * tick)
	if now := first.When(s.Now()); now.Before(before) || now.After(time.Now().Add(2*tick)) {
		t.Errorf("now is %v, not %v", now, before)
	}
}
