package recent

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestBatch goes on with a batch after its end: it holds the lock of the table that
// it met last, and no other.
func TestBatch(t *testing.T) {
	w := newWorld(t, nil, Classic)
	one, other := w.rule(Info{CheckSet: Set, Name: "one"}), w.rule(Info{CheckSet: Set, Name: "other"})
	var b Batch
	meets := func(r *Rule) func() {
		return func() { r.Match(&b, 1000, unix.NFPROTO_IPV4, &[16]byte{10}, &[16]byte{}, 64, false) }
	}
	held := func(r *Rule) bool {
		free := r.table.mu.TryLock()
		if free {
			r.table.mu.Unlock()
		}
		return !free
	}
	for i, step := range []struct {
		do         func()
		one, other bool // whether their locks are held then
	}{
		{b.End, false, false}, {meets(one), true, false}, {meets(one), true, false}, {meets(other), false, true},
		{b.End, false, false}, {b.End, false, false}, {meets(other), false, true}, {b.End, false, false},
	} {
		if step.do(); held(one) != step.one || held(other) != step.other {
			t.Errorf("step %d: it holds one %t, the other %t, want %t, %t", i, held(one), held(other), step.one, step.other)
		}
	}
}
