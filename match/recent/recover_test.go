package recent

import (
	"fmt"
	"testing"
)

// TestRecovered recovers copies of what a process would leave of a table.
func TestRecovered(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.ListTot, p.PktListTot = 8, 4 }, Classic)
	set := w.rule(Info{CheckSet: Set})
	for i := range 20 {
		w.clock.Set(w.clock.Now() + 1)
		w.arrives(set, fmt.Sprintf("192.0.2.%d", i), 64)
		w.arrives(set, fmt.Sprintf("2001:db8::%d", i%3), 9)
	}
	if err := w.write("t", "-192.0.2.19"); err != nil {
		t.Fatal(err)
	}
	was := w.Table("t")
	r, err := recovered(copyOf(t, was.memory.Bytes()), w.clock.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	is := w.tableIn(r)
	if got, want := w.read(is.Cursor(), 4096), w.read(was.Cursor(), 4096); string(got) != string(want) {
		t.Errorf("recovered:\n%swant\n%s", got, want)
	}
}
