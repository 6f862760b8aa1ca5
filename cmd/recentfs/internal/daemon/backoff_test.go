package daemon

import (
	"testing"
	"time"
)

// TestBackoff fails at some times, in seconds, and tells when the next try is due.
func TestBackoff(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	var b backoff
	for _, c := range []struct{ now, next float64 }{
		{0, 0}, {0, 0.1}, {0.1, 0.3}, {0.3, 0.7}, {0.7, 1.5}, {10, 11.6}, // it worked for a while
		{11.6, 14.8}, {14.8, 21.2}, {21.2, 34}, {34, 59.6}, {59.6, 89.6}, {89.6, 119.6}, {119.6, 149.6}, // 30 s at most
		{210, 210}, {211, 211.1}, // a minute of calm
	} {
		b.failed(at(c.now))
		if b.next != at(c.next) || b.due(at(c.next-0.01)) || !b.due(at(c.next)) {
			t.Errorf("after a failure at %v s the next try is due at %v, want %v s", c.now, b.next.Sub(start), c.next)
		}
	}
}

// TestSparingly counts an event that comes every ten seconds.
func TestSparingly(t *testing.T) {
	var s sparingly
	start := time.Now()
	for i, want := range []int{1, 0, 0, 0, 0, 0, 6, 0} {
		if got := s.say(start.Add(time.Duration(i) * 10 * time.Second)); got != want {
			t.Errorf("event %d: said %d, want %d", i, got, want)
		}
	}
}
