package daemon

import (
	"fmt"
	"time"
)

// backoff says when to try again what keeps failing: the first time at once, then
// after waits that double. It begins again after a calm while.
type backoff struct {
	wait time.Duration
	next time.Time // not before
}

const (
	firstWait   = 100 * time.Millisecond
	longestWait = 30 * time.Second
	// calm is how long all is well before a failure is a new one.
	calm = time.Minute
)

// failed notes that it failed.
func (b *backoff) failed(now time.Time) {
	if now.Sub(b.next) > calm {
		b.wait = 0
	}
	b.next = now.Add(b.wait)
	b.wait = min(max(2*b.wait, firstWait), longestWait)
}

// due tells whether to try now.
func (b *backoff) due(now time.Time) bool { return !now.Before(b.next) }

// sparingly says a repeated event at once, and then not again until a calm while
// has passed.
type sparingly struct {
	last   time.Time
	unsaid int
}

// say counts the event, and returns how often it came since it was said last, or 0
// where it is not to be said now.
func (s *sparingly) say(now time.Time) (times int) {
	s.unsaid++
	if now.Sub(s.last) < calm {
		return 0
	}
	times, s.last, s.unsaid = s.unsaid, now, 0
	return times
}

// often is for an event that was said before.
func often(times int) string {
	if times == 1 {
		return ""
	}
	return fmt.Sprintf(" %d times", times)
}

// earlier is the earlier of two times, of which 0 is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
