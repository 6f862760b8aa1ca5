package daemon

import (
	"slices"
	"strings"
	"testing"
)

func TestLosses(t *testing.T) {
	for _, c := range []struct {
		name        string
		before, now losses
		want        []string // how the texts begin
	}{
		{"nothing lost", losses{}, losses{}, nil},
		{"nothing lost since", losses{full: 3, unlogged: 2}, losses{full: 3, unlogged: 2}, nil},
		{"all kinds", losses{full: 1}, losses{11, 8, 9, 2, 3, 4, 5, 6}, []string{
			"10 packets were dropped before any rule saw them: the queue was full;", "8 packets were dropped before any rule saw them: the buffer",
			"9 packets were accepted", "2 messages", "3 packets had no header", "4 verdicts", "5 packets met REPEAT", "6 packets of LOG rules",
		}},
		{"a queue is gone", losses{full: 9, unsent: 1}, losses{full: 2, unsent: 3}, []string{"2 verdicts"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.now.since(c.before); !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
