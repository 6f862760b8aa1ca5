package replay

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

// TestHandover has rules hand a packet to other queues.
func TestHandover(t *testing.T) {
	var onAndOn strings.Builder
	for n := range 30 {
		fmt.Fprintf(&onAndOn, ":QUEUE%d ACCEPT\n-A QUEUE%d -j NFQUEUE --queue-num %d\n", n, n, n+1)
	}
	fmt.Fprintln(&onAndOn, ":QUEUE30 DROP")
	for _, c := range []struct {
		name, rules string
		verdict     string
		saved       string // a line of the rules with its counters
	}{
		{"to another queue", ":QUEUE0 ACCEPT\n:QUEUE7 DROP\n-A QUEUE0 -j NFQUEUE --queue-num 7\n", "drop", ":QUEUE7 DROP [1:20]"},
		{"to a queue without a chain", ":QUEUE0 ACCEPT\n-A QUEUE0 -j NFQUEUE --queue-num 9\n", "queue 9", "[1:20] -A QUEUE0"},
		{"on and on", onAndOn.String(), "drop", ":QUEUE30 DROP [1:20]"},
		{"to no other", ":QUEUE0 ACCEPT\n:QUEUE7 DROP\n", "accept", ":QUEUE7 DROP [0:0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := recent.DefaultParams(recent.Modern)
			file, err := ruleset.Parse("rules", []byte("*recent\n"+c.rules+"COMMIT\n"), p)
			if err != nil {
				t.Fatal(err)
			}
			r, err := New(file, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.rules.Close()
			r.decide([]capture.Packet{{Length: 20, Header: capture.Header{Family: unix.NFPROTO_IPV4}}})
			if r.verdicts[c.verdict] != 1 || len(r.verdicts) != 1 {
				t.Errorf("the verdicts are %v, want %s", r.verdicts, c.verdict)
			}
			var saved strings.Builder
			if err := r.rules.Save(&saved, true); err != nil || !strings.Contains(saved.String(), c.saved) {
				t.Errorf("the rules are %s, %v, want %s", &saved, err, c.saved)
			}
		})
	}
}
