package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"recentfs/match/jiffies"
	"recentfs/tests/lab"
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

// TestSSH is the main job: whatever tool queues the packets, and over both
// families, four new flows pass within a minute and the fifth does not. The
// table's file shows them as the module's does.
func TestSSH(t *testing.T) {
	for _, feeder := range lab.Feeders {
		for _, f := range lab.Families {
			for _, p := range lab.Probes {
				t.Run(strings.Join([]string{feeder.Name, f.Name, p.Name}, "/"), func(t *testing.T) {
					l := lab.NewNetwork(t)
					l.Serve()
					feeder.Add(l, f, p, 0)
					d := lab.StartDaemon(t, l.Server, fmt.Sprintf(sshRules, p.Rule(f)))
					fiveFlows(l, d, f, p)
				})
			}
		}
	}
}

func fiveFlows(l *lab.Network, d *lab.Daemon, f lab.Family, p lab.Probe) {
	t := d.T
	t.Helper()
	if got := d.Read("SSH"); len(got) != 0 {
		t.Fatalf("SSH has entries before any packet: %v", got)
	}
	clock := systemClock(t)
	var bounds [][2]jiffies.Jiffies
	flow := func(send func(lab.Probe, lab.Family)) {
		t.Helper()
		before := clock.Now()
		send(p, f)
		bounds = append(bounds, [2]jiffies.Jiffies{before, clock.Now()})
	}
	for n := 1; n <= 4; n++ {
		flow(l.Passes)
		checkEntry(t, d.Only("SSH"), f, bounds)
	}
	// --update also stamps the fifth, which it drops.
	flow(l.Dropped)
	checkEntry(t, d.Only("SSH"), f, bounds)
}

// checkEntry compares a client's entry with the moments between which its
// packets were sent.
func checkEntry(t testing.TB, got lab.Entry, f lab.Family, bounds [][2]jiffies.Jiffies) {
	t.Helper()
	n := len(bounds)
	if got.Src != inLines(f.Client) || got.TTL != 64 || got.Oldest != n || len(got.Stamps) != n {
		t.Fatalf("after %d packets from %v with TTL 64: %+v", n, f.Client, got)
	}
	for i, stamp := range got.Stamps {
		if at := jiffies.Jiffies(stamp); !(at + 1).After(bounds[i][0]-1) || at.After(bounds[i][1]+1) {
			t.Errorf("stamp %d is %d, but the packet came between %d and %d", i, stamp, bounds[i][0], bounds[i][1])
		}
	}
	if got.LastSeen != got.Stamps[n-1] {
		t.Errorf("last_seen is %d, the last stamp %d", got.LastSeen, got.Stamps[n-1])
	}
}
