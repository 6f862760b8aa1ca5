package daemon

import (
	"errors"
	"strings"
	"testing"
	"time"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/cmd/recentfs/internal/exchange"
)

// FuzzImport sends anything as the body of an import. What is wrong with it is said, with
// the status of the asker's fault, and the table has no more than it may.
func FuzzImport(f *testing.F) {
	const limit, stamps = 5, 3
	f.Fuzz(func(t *testing.T, body string) {
		m := newMachine(t, 1000, 250, limit, stamps, time.Unix(1796000000, 0))
		l := loading{registry: m.Registry, wall: m.wall}
		err := exchange.Decode(strings.NewReader(body), l.begin, l.add)
		if err == nil {
			err = l.flush()
		}
		if err != nil && !errors.As(err, new(*control.Error)) && !errors.As(err, new(*exchange.BodyError)) {
			t.Fatalf("%q: %v", body, err)
		}
		var told strings.Builder
		if err := l.tell(&told); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(m.export(t), "\n"), "\n")
		if len(lines) > limit {
			t.Fatalf("%q: the table has %d addresses:\n%s", body, len(lines), strings.Join(lines, "\n"))
		}
		for _, line := range lines {
			if n := strings.Count(line, ","); n > 2+stamps {
				t.Fatalf("%q: an address has too many stamps: %s", body, line)
			}
		}
	})
}
