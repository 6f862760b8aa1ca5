package jiffies

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// System is the running kernel's own clock.
//
// The kernel does not export jiffies, but they advance with CLOCK_MONOTONIC:
// tick_do_update_jiffies64 adds one for every TICK_NSEC of it. So System needs
// HZ and the distance between the two, which never changes.
type System struct {
	hz     uint32
	offset Jiffies   // jiffies when CLOCK_MONOTONIC was 0
	base   time.Time // a moment, by Go's monotonic clock
	mono   int64     // CLOCK_MONOTONIC at that moment, in nanoseconds
}

const timerList = "/proc/timer_list"

// NewSystem finds out HZ and the offset of jiffies.
func NewSystem() (*System, error) {
	list, err := os.Open(timerList)
	if err != nil {
		return NewSystemFrom(nil)
	}
	defer list.Close()
	return NewSystemFrom(list)
}

// NewSystemFrom is NewSystem by /proc/timer_list, which only root may open. Where list is
// nil, the offset is the kernel's INITIAL_JIFFIES, five minutes before the first wrap of
// an unsigned int. Stamps may then differ from the kernel's by some ticks, but they
// agree with each other.
func NewSystemFrom(list *os.File) (*System, error) {
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return nil, fmt.Errorf("clock_getres(CLOCK_MONOTONIC_COARSE): %w", err)
	}
	hz, err := rate(res.Nano())
	if err != nil {
		return nil, err
	}
	s := &System{hz: hz, offset: initialJiffies(hz)}
	// The kernel writes the time first and jiffies later. If it was interrupted in
	// between, or if a tick came late, an offset is wrong by some ticks. Most
	// offsets are right, so the median is.
	var offsets []Jiffies
	for i := 0; i < 9 && list != nil; i++ {
		if _, err := list.Seek(0, io.SeekStart); err != nil {
			break
		}
		if offset, ok := readOffset(list, s.hz); ok {
			offsets = append(offsets, offset)
		}
	}
	if len(offsets) > 0 {
		s.offset = median(offsets)
	}
	if err := s.anchor(); err != nil {
		return nil, err
	}
	return s, nil
}

func median(offsets []Jiffies) Jiffies {
	slices.Sort(offsets)
	return offsets[len(offsets)/2]
}

// rate is HZ for a tick of some nanoseconds. TICK_NSEC is rounded.
func rate(tick int64) (hz uint32, err error) {
	if tick <= 0 || tick > int64(time.Second) {
		return 0, fmt.Errorf("clock_getres(CLOCK_MONOTONIC_COARSE): a tick of %d ns is not one of Linux", tick)
	}
	return uint32((int64(time.Second) + tick/2) / tick), nil
}

// initialJiffies is INITIAL_JIFFIES of include/linux/jiffies.h.
func initialJiffies(hz uint32) Jiffies { return Jiffies(0 - 300*hz) }

// anchor finds the distance between Go's monotonic clock and CLOCK_MONOTONIC. Go's
// is read without a system call, but its zero is unknown. The fastest of a few
// tries has an error well below a tick.
func (s *System) anchor() error {
	best, shift := time.Duration(1<<63-1), shifted()
	for range 8 {
		var ts unix.Timespec
		before := time.Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			return fmt.Errorf("clock_gettime(CLOCK_MONOTONIC): %w", err)
		}
		if d := time.Since(before); d < best {
			best, s.base, s.mono = d, before, ts.Nano()-int64(d/2+shift)
		}
	}
	return nil
}

// shifted is how far CLOCK_MONOTONIC is ahead of the kernel's own, which jiffies and
// /proc/timer_list follow: what the time namespace of this process says, which it
// cannot change any more. A container that was moved from another machine has one.
func shifted() time.Duration {
	text, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil {
		return 0 // a kernel without time namespaces, before Linux 5.6
	}
	return readShift(text)
}

func readShift(text []byte) time.Duration {
	for line := range bytes.Lines(text) {
		var seconds, nanoseconds int64
		if n, _ := fmt.Sscanf(string(line), "monotonic %d %d", &seconds, &nanoseconds); n == 2 {
			return time.Duration(seconds)*time.Second + time.Duration(nanoseconds)
		}
	}
	return 0
}

// Now implements Clock.
func (s *System) Now() Jiffies {
	return s.offset + Jiffies(Ticks(time.Duration(s.mono)+time.Since(s.base), s.hz))
}

// HZ implements Clock.
func (s *System) HZ() uint32 { return s.hz }

// readOffset finds the distance between jiffies and CLOCK_MONOTONIC in the text of
// /proc/timer_list, which has both.
func readOffset(r io.Reader, hz uint32) (Jiffies, bool) {
	var now uint64
	var seen bool
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		line := bytes.TrimSpace(sc.Bytes())
		if v, ok := bytes.CutPrefix(line, []byte("now at ")); ok {
			v, _ = bytes.CutSuffix(v, []byte(" nsecs"))
			n, err := strconv.ParseUint(string(v), 10, 63)
			if err != nil {
				return 0, false
			}
			now, seen = n, true
		}
		if v, ok := bytes.CutPrefix(line, []byte("jiffies: ")); ok && seen {
			n, err := strconv.ParseUint(string(v), 10, 64)
			return Jiffies(n - Ticks(time.Duration(now), hz)), err == nil
		}
	}
	return 0, false
}
