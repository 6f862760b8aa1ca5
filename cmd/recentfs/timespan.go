package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// timespan is a flag's value: a time.Duration of more than nothing that is written
// as such, and may begin with weeks and days, as in 2w or 1d12h.
type timespan time.Duration

func (t *timespan) String() string {
	if *t == 0 {
		return "" // no default
	}
	return time.Duration(*t).String()
}

// Type is that of pflag's own durations.
func (t *timespan) Type() string { return "duration" }

// Set reads a time. Its error is for explainFlagError, which says what to write.
func (t *timespan) Set(s string) error {
	var total time.Duration
	rest := s
	for _, unit := range []struct {
		name string
		long time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, found := strings.Cut(rest, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 63)
		if err != nil || time.Duration(n) > (math.MaxInt64-total)/unit.long {
			return errors.New("no number of weeks or days")
		}
		total += time.Duration(n) * unit.long
		rest = after
	}
	if rest != "" || total == 0 {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return errors.New("no time")
		}
		total += d
	}
	if total <= 0 {
		return errors.New("no time, or too long a time")
	}
	*t = timespan(total)
	return nil
}
