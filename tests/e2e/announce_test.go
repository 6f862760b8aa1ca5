package e2e

import (
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// TestSaysWhatRuns starts daemons, which say before "ready" what they run, and
// what a newcomer may have overlooked.
func TestSaysWhatRuns(t *testing.T) {
	const (
		hint     = "each table keeps 100 addresses"
		noQueues = "no chain gets packets"
		rules    = "*recent\n:QUEUE0-3 ACCEPT [0:0]\n:QUEUE9 ACCEPT [0:0]\nCOMMIT\n"
	)
	for _, c := range []struct {
		name, rules string
		args        []string
		want        string // DIR is the daemon's directory
		says        []string
		saysNot     []string
	}{
		{
			name: "defaults", rules: rules,
			want: "rules: DIR/rules (queues 0-3, 9); mount: DIR/xt_recent; " +
				"ip_list_tot=100 ip_pkt_list_tot=20 ip_list_perms=0644 ip_list_uid=0 ip_list_gid=0, compatibility classic; network namespace: recentfs's own",
			says: []string{hint}, saysNot: []string{noQueues},
		},
		{
			name: "parameters", rules: rules, args: []string{"-o", "ip_list_tot=1000", "--compat", "modern"},
			want:    "ip_list_tot=1000 ip_pkt_list_tot=0 ip_list_perms=0644 ip_list_uid=0 ip_list_gid=0, compatibility modern; ",
			saysNot: []string{hint},
		},
		{
			name: "overload", rules: rules, args: []string{"--queue-length", "100", "--queue-buffer", "512K", "--on-overload", "accept", "--max-memory", "1G"},
			want: "compatibility classic; --queue-length 100 --queue-buffer 512K --on-overload accept --max-memory 1G; network namespace: recentfs's own",
		},
		{
			name: "overload as usual", rules: rules, args: []string{"--queue-length", "8192", "--queue-buffer", "8M", "--on-overload", "drop"},
			want: "compatibility classic; network namespace: recentfs's own",
		},
		{
			name: "no queue", rules: "*recent\n:OTHER - [0:0]\nCOMMIT\n",
			want: "rules: DIR/rules (no queue); ",
			says: []string{noQueues},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := lab.StartDaemon(t, lab.NewNetns(t), c.rules, c.args...)
			said, _, _ := strings.Cut(d.Output.String(), "ready")
			if want := strings.ReplaceAll(c.want, "DIR", d.Dir); strings.Count(said, want) != 1 {
				t.Errorf("before \"ready\" it does not say %q once:\n%s", want, said)
			}
			for _, text := range c.says {
				if n := strings.Count(said, text); n != 1 {
					t.Errorf("it says %q %d times, want once:\n%s", text, n, said)
				}
			}
			for _, text := range c.saysNot {
				if strings.Contains(said, text) {
					t.Errorf("it says %q:\n%s", text, said)
				}
			}
		})
	}
}
