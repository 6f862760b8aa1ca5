package daemon

import "testing"

func TestQueueRanges(t *testing.T) {
	for _, c := range []struct {
		queues []uint16
		want   string
	}{
		{nil, "no queue"},
		{[]uint16{7}, "queue 7"},
		{[]uint16{0, 1}, "queues 0-1"},
		{[]uint16{0, 1, 2, 7, 65534, 65535}, "queues 0-2, 7, 65534-65535"},
	} {
		if got := queueRanges(c.queues); got != c.want {
			t.Errorf("queueRanges(%v) = %q, want %q", c.queues, got, c.want)
		}
	}
}
