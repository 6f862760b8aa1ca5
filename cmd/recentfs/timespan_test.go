package main

import (
	"testing"
	"time"
)

func TestTimespan(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		text string
		want time.Duration // 0 if it is refused
	}{
		{"10m", 10 * time.Minute},
		{"36h", 36 * time.Hour},
		{"1h30m", 90 * time.Minute},
		{"1.5h", 90 * time.Minute},
		{"1d", day},
		{"1d12h", 36 * time.Hour},
		{"1d500ms", day + 500*time.Millisecond},
		{"2w", 14 * day},
		{"2w1d1s", 15*day + time.Second},
		{"1w0d", 7 * day},
		{"0d1s", time.Second},
		{"106751d", 106751 * day},
		{"106752d", 0},
		{"15250w", 15250 * 7 * day},
		{"15251w", 0},
		{"15250w2d", 0},
		{"15250w1d24h", 0},
		{"9223372036854775807d", 0},
		{"213504d", 0}, // 25 minutes, if it wrapped
		{"xd1h", 0},
		{"1.5d1h", 0},
		{"", 0},
		{"0", 0},
		{"0s", 0},
		{"0d", 0},
		{"d", 0},
		{"w", 0},
		{"-1d", 0},
		{"-1h", 0},
		{"1d-1h", 0},
		{"1.5d", 0},
		{"1d2w", 0},
		{"1d1d", 0},
		{"1day", 0},
		{"1 d", 0},
		{"1D", 0},
		{"7", 0},
		{"1d7", 0},
		{"yesterday", 0},
	} {
		t.Run(c.text, func(t *testing.T) {
			var got timespan
			if err := got.Set(c.text); time.Duration(got) != c.want || (err == nil) != (c.want > 0) {
				t.Errorf("%v, %v, want %v", time.Duration(got), err, c.want)
			}
		})
	}
}
