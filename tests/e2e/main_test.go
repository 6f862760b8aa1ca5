// Package e2e runs the whole program with real packets.
package e2e

import (
	"fmt"
	"testing"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// sshSeen has one table, which takes the source of every packet of queue 0.
const sshSeen = "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -m recent --set --name ssh\nCOMMIT\n"

// oneTable are rules with a table that let everything pass.
func oneTable(name string) string {
	return fmt.Sprintf(`*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -m recent --set --name %s --rsource
COMMIT
`, name)
}

// guarded makes a network whose server serves port 22. The kernel queues the
// probe's packets to queue 0, and a daemon on the server decides on them.
func guarded(t *testing.T, f lab.Family, p lab.Probe, rules string) (*lab.Network, *lab.Daemon) {
	t.Helper()
	l := lab.NewNetwork(t)
	l.Serve()
	l.QueueTo(f, "filter", "INPUT", p.Match(f), "--queue-num 0")
	return l, lab.StartDaemon(t, l.Server, rules)
}
