// Package jiffies is the kernel's clock: a counter of timer ticks.
//
// It follows include/linux/jiffies.h. Stamps in a table are the running kernel's
// jiffies at its HZ. Scripts compare them with /proc/timer_list, or with the fifth
// field of another line, and keep working.
package jiffies

import (
	"sync/atomic"
	"time"
)

// Jiffies counts timer ticks. It wraps, as the kernel's unsigned long does on
// a 64-bit machine, so only After compares two of them.
type Jiffies uint64

// After reports whether j is later than k: the kernel's time_after(j, k).
func (j Jiffies) After(k Jiffies) bool { return int64(k-j) < 0 }

// Sub is the distance from k to j in ticks, negative where j is earlier.
func (j Jiffies) Sub(k Jiffies) int64 { return int64(j - k) }

// Clock tells the time in jiffies. Now may be called by many goroutines and
// does not allocate.
type Clock interface {
	Now() Jiffies
	// HZ is the number of jiffies in a second, 1 or more. It never changes.
	HZ() uint32
}

// Manual is a clock that stands still until it is set: a test's clock, or a
// capture file's. Its methods may be called by many goroutines.
type Manual struct {
	now atomic.Uint64
	hz  uint32
}

// NewManual returns a clock that shows now and counts hz ticks a second.
func NewManual(now Jiffies, hz uint32) *Manual {
	m := &Manual{hz: hz}
	m.Set(now)
	return m
}

// Now implements Clock.
func (m *Manual) Now() Jiffies { return Jiffies(m.now.Load()) }

// HZ implements Clock.
func (m *Manual) HZ() uint32 { return m.hz }

// Set moves the clock to now, forwards or back.
func (m *Manual) Set(now Jiffies) { m.now.Store(uint64(now)) }

// Advance moves the clock by d, rounded down to whole ticks.
func (m *Manual) Advance(d time.Duration) { m.now.Add(Ticks(d, m.hz)) }

// Ticks is d in whole jiffies at hz ticks a second; a negative d counts as 0.
func Ticks(d time.Duration, hz uint32) uint64 {
	if d < 0 {
		return 0
	}
	seconds, rest := uint64(d/time.Second), uint64(d%time.Second)
	return seconds*uint64(hz) + rest*uint64(hz)/uint64(time.Second)
}

// Duration is the length of n jiffies at hz ticks a second, or the nearest that a
// time.Duration can hold.
func Duration(n int64, hz uint32) time.Duration {
	seconds, rest := n/int64(hz), n%int64(hz)
	const limit = int64(1<<63-1) / int64(time.Second)
	switch {
	case seconds >= limit:
		return 1<<63 - 1
	case seconds <= -limit:
		return -1 << 63
	}
	return time.Duration(seconds)*time.Second + time.Duration(rest*int64(time.Second)/int64(hz))
}
