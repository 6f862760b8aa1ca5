package tests

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"recentfs/match/jiffies"
)

// sshRules drop the fifth new flow within a minute, and print addresses as
// the kernel does.
const sshRules = `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 %[1]s -m recent --update --seconds 60 --hitcount 4 --name SSH --rsource -j DROP
-A QUEUE0 %[1]s -m recent --set --name SSH --rsource
COMMIT
`

// inLines is an address as a table's lines show it: %pI4 or %pI6.
func inLines(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return a.StringExpanded()
}

func systemClock(t testing.TB) jiffies.Clock {
	t.Helper()
	clock, err := jiffies.NewSystem()
	if err != nil {
		t.Fatal(err)
	}
	return clock
}

// TestSSH is the main job: by every tool that can queue a packet, over both
// families, four new flows pass within a minute and the fifth does not; the
// table's file tells of them as the module would.
func TestSSH(t *testing.T) {
	for _, feeder := range feeders {
		for _, f := range families {
			for _, p := range probes {
				t.Run(strings.Join([]string{feeder.name, f.name, p.name}, "/"), func(t *testing.T) {
					l := newLab(t)
					l.serve()
					feeder.add(l, f, p, 0)
					d := startDaemon(t, l.server, fmt.Sprintf(sshRules, p.rule(f)))
					fiveFlows(l, d, f, p)
				})
			}
		}
	}
}

func fiveFlows(l *lab, d *daemon, f family, p probe) {
	t := d.t
	t.Helper()
	if got := d.read("SSH"); len(got) != 0 {
		t.Fatalf("SSH has entries before any packet: %v", got)
	}
	clock := systemClock(t)
	var bounds [][2]jiffies.Jiffies
	flow := func(send func(probe, family)) {
		t.Helper()
		before := clock.Now()
		send(p, f)
		bounds = append(bounds, [2]jiffies.Jiffies{before, clock.Now()})
	}
	for n := 1; n <= 4; n++ {
		flow(l.passes)
		checkEntry(t, d.only("SSH"), f, bounds)
	}
	// The update that drops the fifth adds its stamp too.
	flow(l.dropped)
	checkEntry(t, d.only("SSH"), f, bounds)
}

// checkEntry compares a client's entry with the moments between which its
// packets were sent.
func checkEntry(t testing.TB, got entry, f family, bounds [][2]jiffies.Jiffies) {
	t.Helper()
	n := len(bounds)
	if got.src != inLines(f.client) || got.ttl != 64 || got.oldest != n || len(got.stamps) != n {
		t.Fatalf("after %d packets from %v with TTL 64: %+v", n, f.client, got)
	}
	for i, stamp := range got.stamps {
		if !(stamp + 1).After(bounds[i][0]-1) || stamp.After(bounds[i][1]+1) {
			t.Errorf("stamp %d is %d, but the packet came between %d and %d", i, stamp, bounds[i][0], bounds[i][1])
		}
	}
	if got.lastSeen != got.stamps[n-1] {
		t.Errorf("last_seen is %d, the last stamp %d", got.lastSeen, got.stamps[n-1])
	}
}
