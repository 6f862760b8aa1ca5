package live

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"os"
	"testing"
	"time"

	"recentfs/match/jiffies"
	"recentfs/tests/lab"
)

// TestLiveClock sends packets for a minute and compares the kernel's stamp of
// each with ours, then the kernel's jiffies with CLOCK_MONOTONIC.
func TestLiveClock(t *testing.T) {
	needKernel(t)
	t.Parallel()
	w := newWorld(t, 0)
	r := &run{world: w, scenario: &scenario{
		families: []lab.Family{lab.IPv4}, hooks: []string{"PREROUTING"},
		rules: []liveRule{{lab.IPv4, "-p udp -m recent --set --name clock"}},
	}}
	r.load()
	from, before := readJiffies(t)
	// How far our stamp is ahead of the kernel's, in jiffies. Packets that took
	// longer than a jiffy to reach us do not count.
	ahead, late := map[int64]int{}, 0
	const apart = 97 * time.Millisecond // so that packets come at every moment of a jiffy
	const enough = 100                  // packets in time
	start := time.Now()
	for ; time.Since(start) < time.Minute || ahead[0] < enough && time.Since(start) < 3*time.Minute; time.Sleep(apart) {
		span := span{from: w.clock.Now()}
		began := time.Now()
		r.burst([]livePacket{{way: "in", src: netip.MustParseAddr("10.60.0.1"), dst: netip.MustParseAddr("10.53.0.1"), ttl: 64, port: 1}})
		took := time.Since(began)
		span.to = w.clock.Now()
		kernel, ours := r.lastSeen()
		d := ours.Sub(kernel)
		if kernel.Sub(span.from) < -1 || span.to.Sub(kernel) < -1 {
			t.Errorf("the kernel's stamp is %d, the packet came between %d and %d", kernel, span.from, span.to)
		}
		if took > jiffies.Duration(1, w.hz) {
			late++
			continue
		}
		ahead[d]++
		if d < -1 || d > 1 {
			t.Errorf("the kernel's stamp is %d, ours %d, for a packet that took %v", kernel, ours, took)
		}
	}
	to, after := readJiffies(t)
	if got := float64(after.Sub(before)) / to.Sub(from).Seconds(); math.Abs(got-float64(w.hz)) > float64(w.hz)/100 {
		t.Errorf("the kernel counted %.2f jiffies a second, but we take HZ to be %d", got, w.hz)
	}
	compared := ahead[-1] + ahead[0] + ahead[1]
	t.Logf("%d packets compared at %d Hz; ours ahead by jiffies: %v; %d more came late to us", compared, w.hz, ahead, late)
	if ahead[0] < enough {
		t.Errorf("only %d packets came in time and %d came late: the machine is too slow", compared, late)
	}
}

// lastSeen are both sides' newest stamps of the only entry.
func (r *run) lastSeen() (kernel, ours jiffies.Jiffies) {
	r.t.Helper()
	text, err := r.kernelTable("clock")
	if err != nil {
		r.t.Fatal(err)
	}
	entries, err := parseEntries(text)
	if err != nil || len(entries) != 1 {
		r.t.Fatalf("the kernel has %q: %v", text, err)
	}
	return jiffies.Jiffies(entries[0].LastSeen), jiffies.Jiffies(r.d.Only("clock").LastSeen)
}

// readJiffies reads both clocks from the kernel's list of timers. The time is
// CLOCK_MONOTONIC.
func readJiffies(t *testing.T) (at time.Time, j jiffies.Jiffies) {
	t.Helper()
	text, err := os.ReadFile("/proc/timer_list")
	if err != nil {
		t.Fatal(err)
	}
	var now, count uint64
	for line := range bytes.Lines(text) {
		if _, err := fmt.Sscanf(string(line), "now at %d nsecs", &now); err == nil {
			continue
		}
		if _, err := fmt.Sscanf(string(line), "jiffies: %d", &count); err == nil {
			return time.Unix(0, int64(now)), jiffies.Jiffies(count)
		}
	}
	t.Fatal("/proc/timer_list names no jiffies")
	return
}
