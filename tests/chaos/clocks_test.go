package chaos

import (
	"os"
	"testing"

	"recentfs/tests/lab"
)

// TestTimeNamespace starts the daemon where the clock since the boot is a day ahead,
// and then where it is not. The stamps are the kernel's: what was written a moment ago
// is as old in both.
func TestTimeNamespace(t *testing.T) {
	w := newWorld(t)
	args := []string{"--state", w.state()}
	stamp := func(address string) uint64 {
		t.Helper()
		if err := os.WriteFile(w.file("open"), []byte("+"+address), 0); err != nil {
			t.Fatal(err)
		}
		for _, e := range w.d.Read("open") {
			if e.Src == address {
				return e.LastSeen
			}
		}
		t.Fatalf("%s is not there", address)
		return 0
	}
	var stamps []uint64
	for run, under := range [][]string{nil, {"unshare", "--time", "--monotonic", "86400", "--boottime", "86400"}, nil} {
		w.under(under...)
		if run == 0 {
			w.begin(args...)
		} else {
			w.d.Start(args...)
			w.startLoad()
			w.before = w.measure()
		}
		stamps = append(stamps, stamp([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}[run]))
		w.end()
	}
	// A tick of Linux is a millisecond or longer.
	const most = uint64(2 * lab.Patience / 1e6)
	for i := range stamps[1:] {
		if passed := stamps[i+1] - stamps[i]; passed > most {
			t.Errorf("between %d and %d lie %d ticks", stamps[i], stamps[i+1], passed)
		}
	}
}
