package jiffies

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Wall ties jiffies to the time of day: the tick At began at Time.
type Wall struct {
	HZ   uint32
	At   Jiffies
	Time time.Time
}

// oldest is how many ticks before At the earliest tick is that Jiffies returns.
const oldest = 1 << 31

// When is when a tick began.
func (w Wall) When(j Jiffies) time.Time { return w.Time.Add(Duration(j.Sub(w.At), w.HZ)) }

// Jiffies is the tick that began nearest to a time, so that it is exact for a time
// that When returned. What was 2^31 ticks before At, or earlier, is that long before.
// Where At is the start of the machine, no tick is below 0 then.
func (w Wall) Jiffies(t time.Time) Jiffies {
	half := time.Second / time.Duration(2*w.HZ)
	const far = 1 << 62 // so that nothing overflows
	if d := min(max(t.Sub(w.Time), -far), far); d >= 0 {
		return w.At + Jiffies(Ticks(d+half, w.HZ))
	} else if ticks := Ticks(half-d, w.HZ); ticks < oldest {
		return w.At - Jiffies(ticks)
	}
	return w.At - oldest
}

// Wall is the start of the machine, as the wall clock counts now. It is the same
// each time until somebody sets that clock.
func (s *System) Wall() (Wall, error) {
	at, err := realtimeOffset()
	return Wall{HZ: s.hz, At: s.offset, Time: time.Unix(0, at)}, err
}

// realtimeOffset is how many nanoseconds CLOCK_REALTIME is ahead of the kernel's CLOCK_MONOTONIC.
// The kernel keeps exactly that number, and prints it in timerList. Two readings of
// the clocks tell it almost: a tick may come out as the next one then. They also show
// that the kernel's number is the one of now.
func realtimeOffset() (int64, error) {
	var measured, best int64
	for try := range 8 {
		var before, between, after unix.Timespec
		for _, c := range []struct {
			clock int32
			to    *unix.Timespec
		}{{unix.CLOCK_MONOTONIC, &before}, {unix.CLOCK_REALTIME, &between}, {unix.CLOCK_MONOTONIC, &after}} {
			if err := unix.ClockGettime(c.clock, c.to); err != nil {
				return 0, fmt.Errorf("clock_gettime: %w", err)
			}
		}
		if took := after.Nano() - before.Nano(); try == 0 || took < best {
			best, measured = took, between.Nano()-before.Nano()-took/2
		}
	}
	measured += int64(shifted())
	if f, err := os.Open(timerList); err == nil {
		defer f.Close()
		if exact, ok := readRealtimeOffset(f); ok && (exact-time.Duration(measured)).Abs() < time.Millisecond {
			return int64(exact), nil
		}
	}
	return measured, nil
}

// readRealtimeOffset finds the offset of the first CPU's clock 1, which is
// HRTIMER_BASE_REALTIME, in the text of /proc/timer_list.
func readRealtimeOffset(r io.Reader) (time.Duration, bool) {
	sc := bufio.NewScanner(r)
	for within := false; sc.Scan(); {
		line := bytes.TrimSpace(sc.Bytes())
		if bytes.HasPrefix(line, []byte("clock ")) {
			within = string(line) == "clock 1:"
		}
		if v, ok := bytes.CutPrefix(line, []byte(".offset:")); ok && within {
			v, _ = bytes.CutSuffix(bytes.TrimSpace(v), []byte(" nsecs"))
			n, err := strconv.ParseInt(string(v), 10, 64)
			return time.Duration(n), err == nil
		}
	}
	return 0, false
}
