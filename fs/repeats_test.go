package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"recentfs/fs/device"
	"recentfs/tests/lab"
)

// polling is a thread of the kernel that polls an io_uring, until the test ends.
func polling(t *testing.T) (thread uint32) {
	t.Helper()
	newRing(t, lab.PolledRing)
	lab.Eventually(t, "the polling thread has its name", func() error {
		tasks, err := filepath.Glob("/proc/self/task/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if id, err := strconv.Atoi(filepath.Base(task)); err == nil && polls(uint32(id)) {
				thread = uint32(id)
				return nil
			}
		}
		return fmt.Errorf("threads %v", tasks)
	})
	return thread
}

// TestPollingThread looks again at the same offset, soon or later.
func TestPollingThread(t *testing.T) {
	polling := polling(t)
	for _, c := range []struct {
		name   string
		thread uint32
		after  time.Duration
		want   place
	}{
		{"a polling thread", polling, 0, atPosition},
		{"a polling thread, later", polling, soon, atOffset},
		{"another thread", uint32(os.Getpid()), 0, atOffset},
		{"a thread that we do not see", 0, 0, atOffset},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := repeats{opener: c.thread}
			r.note(0, 1000, 100)
			r.at -= int64(c.after)
			if got, err := r.place(0, c.thread); got != c.want || err != nil {
				t.Errorf("place %d (%v), want %d", got, err, c.want)
			}
		})
	}
}

// TestRepeatsLater has a reader that looks at a table once in a while.
func TestRepeatsLater(t *testing.T) {
	r := repeats{opener: 7}
	r.note(0, 1000, 100)
	r.at -= int64(soon)
	for range 2 * repeatLimit {
		if place, err := r.place(0, 7); place != atOffset || err != nil {
			t.Fatalf("place %d, %v", place, err)
		}
		r.note(0, 1000, 100)
		r.at -= int64(soon)
	}
	if r.goingOn != no || r.count != 1 {
		t.Errorf("%+v", r)
	}
}

// TestPiecesOfARead has reads that the kernel sends in pieces, which come in any
// order.
func TestPiecesOfARead(t *testing.T) {
	const size = device.MaxRead
	thread := polling(t)
	for _, c := range []struct {
		name    string
		offsets []int64
	}{
		{"in order", []int64{0, size, 2 * size}},
		{"the last first", []int64{2 * size, size, 0}},
		{"mixed", []int64{size, 0, 2 * size}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := repeats{opener: thread}
			for _, off := range c.offsets {
				place, err := r.place(off, thread)
				want := atOffset
				if off > 0 {
					want = furtherPiece
				}
				if place != want || err != nil {
					t.Errorf("at %d: place %d (%v), want %d", off, place, err, want)
				}
				if place == atOffset {
					r.note(off, size, 100)
				}
			}
			if r.goingOn != unknown || r.off != 0 || r.count != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestFarRead has a first read that is far from the file's start. It is a piece of a longer one
// for a polling thread alone: for others the position is after it.
func TestFarRead(t *testing.T) {
	for name, c := range map[string]struct {
		thread uint32
		want   place
	}{
		"a polling thread": {polling(t), furtherPiece},
		"another thread":   {uint32(os.Getpid()), atOffset},
	} {
		t.Run(name, func(t *testing.T) {
			r := repeats{opener: c.thread}
			if got, err := r.place(device.MaxRead, c.thread); got != c.want || err != nil {
				t.Errorf("place %d (%v), want %d", got, err, c.want)
			}
		})
	}
}
