package recent

import (
	"fmt"
	"testing"
)

// TestMaxLength fills tables with the longest lines.
func TestMaxLength(t *testing.T) {
	const limit = 5
	for _, compat := range []Compat{Classic, Modern} {
		t.Run(fmt.Sprint(compat), func(t *testing.T) {
			w := newWorld(t, func(p *Params) { p.ListTot = limit }, compat)
			w.clock.Set(1<<64 - 1)
			set := w.rule(Info{CheckSet: Set})
			for i := range limit {
				for range 100 {
					w.arrives(set, fmt.Sprintf("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff%d", i), 255)
				}
			}
			most := w.Table("t").MaxLength()
			n := int64(len(w.read(w.Table("t").Cursor(), 1<<20)))
			if n > most || n < most*(limit-1)/limit {
				t.Errorf("%d bytes, at most %d", n, most)
			}
		})
	}
}
