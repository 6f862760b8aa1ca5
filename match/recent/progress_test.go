package recent

import "testing"

// TestProgress counts the steps of what may take long, and of nothing else.
func TestProgress(t *testing.T) {
	w := filled(t, 5*movedAtOnce)
	buf := make([]byte, 4096)
	both := uint64(5 + len(w.Table("t").index)/movedAtOnce) // the slots, and the index
	steps := func(what string, moves, passes bool, do func()) {
		t.Helper()
		moved, passed := w.module.Progress()
		do()
		m, p := w.module.Progress()
		if moves != (m-moved >= both) || !moves && m != moved {
			t.Errorf("%s: %d steps of moving", what, m-moved)
		}
		if passes != (p-passed >= 5) || !passes && p != passed {
			t.Errorf("%s: %d lines were passed over", what, p-passed)
		}
	}
	steps("a dump", false, false, func() { w.read(w.Table("t").Cursor(), len(buf)) })
	steps("a read far away", false, true, func() {
		if _, err := w.Table("t").Cursor().ReadAt(buf, 100_000); err != nil {
			t.Fatal(err)
		}
	})
	steps("a packet", false, false, func() { w.must("+192.0.2.1") })
	steps("a reload", true, false, func() {
		w.reload(func(p *Params) { p.ListTot /= 2 }, Info{CheckSet: Set})
	})
}
