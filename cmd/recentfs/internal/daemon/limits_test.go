package daemon

import (
	"strings"
	"testing"
)

func TestLimitsError(t *testing.T) {
	const enough = 4 << 30
	for _, c := range []struct {
		name        string
		descriptors uint64
		space       uint64
		queues      int
		kept        int
		want        string
	}{
		{"enough", 34, 2 << 30, 1, 0, ""},
		{"too few descriptors", 33, enough, 1, 0, "33, but 34 are needed for 1 queue: raise the limit (ulimit -n"},
		{"too few for many queues", 1024, enough, 65536, 0, "1024, but 131104 are needed for 65536 queues"},
		{"too few for --state", 36, enough, 1, 3, "36, but 37 are needed for 1 queue and --state"},
		{"too little address space", 1024, 2<<30 - 1, 1, 0, "2097151 KiB, but 2097152 KiB are needed: raise the limit (ulimit -v"},
	} {
		err := limitsError(c.descriptors, c.space, c.queues, c.kept)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
