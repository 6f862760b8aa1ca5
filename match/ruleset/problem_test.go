package ruleset

import (
	"fmt"
	"strings"
	"testing"
)

// TestAllErrors has files with more than one fault: each is said, in the file's
// order, and nothing that only follows from another.
func TestAllErrors(t *testing.T) {
	const (
		undeclared = " is not declared: put :a - [0:0] above"
		repeat     = "REPEAT would loop: before it, set a mark that the kernel's rule excludes (-j MARK --set-mark)"
		marks      = "with REPEAT, this MARK can give a packet the mark that it came with, and it would loop: set bits with --or-mark in all MARK rules, or give all the same --set-mark"
	)
	loop := func(from, to string) string {
		return fmt.Sprintf("a packet would loop: chain %s leads back to itself by the jump from %s to %[1]s, remove that jump", to, from)
	}
	tooLong := func(chain string) string {
		return fmt.Sprintf("chain %s is too long: up to this rule a packet can visit more than 1000000 rules and matches, counting those of the chains that are called on the way, and -m recent --seconds once more for each 64 stamps that its table keeps; call fewer chains, use -g where the packet need not come back, or lower --hitcount or ip_pkt_list_tot", chain)
	}
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"two rules", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -p x\n-A QUEUE0\n-A QUEUE0 -m limit\nCOMMIT\n", []string{
			`rules:3: -p "x" is not a known protocol: write its number, 0 to 255`,
			"rules:5: -m limit: only the kernel can match this: put it on the kernel's rule that queues"}},
		{"undeclared chain", "*recent\n:QUEUE0 ACCEPT\n-A a\n-A a -j DROP\n-A QUEUE0 -j a\n-P a DROP\n-A b\nCOMMIT\n", []string{
			"rules:3: chain a" + undeclared + " (and 3 more lines)",
			"rules:7: chain b is not declared: put :b - [0:0] above"}},
		{"undeclared chain and a bad rule in it", "*recent\n-A a -p x\n-A a\nCOMMIT\n", []string{
			`rules:2: -p "x" is not a known protocol: write its number, 0 to 255`,
			"rules:3: chain a" + undeclared}},
		{"chains of two lines", "*recent\n-A a\n-A a\nCOMMIT\n", []string{"rules:2: chain a" + undeclared + " (and 1 more line)"}},
		{"bad declarations", "*recent\n:QUEUE0 REJECT\n:QUEUE1\n:a DROP\n-N b -j DROP\n-A QUEUE0\n-A QUEUE1\n-A a -j b\n-A b -j a\n-I a 3\nCOMMIT\n", []string{
			`rules:2: policy "REJECT" of chain QUEUE0: use ACCEPT or DROP`,
			"rules:3: a chain is declared as :QUEUE0 ACCEPT [0:0], or as :name - [0:0]",
			"rules:4: chain a: only QUEUE chains have a policy, declare it as :a - [0:0]",
			"rules:5: -N stands alone: put the rule on a line of its own"}},
		{"bad counters of a chain", "*recent\n:QUEUE0 ACCEPT [0]\n-A QUEUE0\nCOMMIT\n", []string{
			`rules:2: counters "[0]" of chain QUEUE0: they read [packets:bytes]`}},
		{"insert after a bad rule", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -p x\n-I QUEUE0 2\nCOMMIT\n", []string{
			`rules:3: -p "x" is not a known protocol: write its number, 0 to 255`}},
		{"repeat after a bad mark", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --set-mark x\n-A QUEUE0 -j REPEAT\nCOMMIT\n", []string{
			`rules:3: --set-mark "x": write VALUE or VALUE/MASK, numbers from 0 to 0xffffffff`}},
		{"no table at all", ":QUEUE0 ACCEPT\n-A QUEUE0\n-A QUEUE0 -p x\n", []string{
			"rules:1: a rule outside a table: begin the table with a line *recent (and 2 more lines)",
			`rules:3: -p "x" is not a known protocol: write its number, 0 to 255`}},
		{"text after the table", "*recent\nCOMMIT\n-A a\n-A b\n", []string{
			"rules:3: text after COMMIT: put rules before it (and 1 more line)"}},
		{"no end and a bad rule", "*recent\n-A a\n", []string{
			"rules:2: chain a" + undeclared,
			"rules:3: the table has no end: put a line COMMIT after its last rule"}},
		{"other tables alone", "*nat\nx\nCOMMIT\n*filter\n-A a\nCOMMIT\n", []string{
			"rules:1: table *nat is the kernel's: only *recent is read here, use iptables-restore for the others",
			"rules:4: table *filter is the kernel's: only *recent is read here, use iptables-restore for the others"}},
		{"an unknown table alone", "*recnt\n-A a\nCOMMIT\n", []string{
			"rules:1: table *recnt is unknown: recentfs has the table *recent alone"}},
		{"a second table in a table without end", "*recent\nCOMMIT\n*nat\n*recent\nCOMMIT\n", []string{
			"rules:4: a second *recent: put its chains and rules into the first, iptables-restore would let it replace the first"}},
		{"a file of Windows", "\xef\xbb\xbf*recent\r\n-A a\r\nCOMMIT\r\n", []string{
			"rules:1: the file begins with a byte order mark (BOM): save it as UTF-8 without one",
			"rules:1: the line ends with CR LF, as on Windows: convert the file, as by sed -i 's/\\r$//' FILE (and 2 more lines)",
			"rules:2: chain a" + undeclared}},
		{"a script", "iptables -F\niptables -A INPUT\n", []string{
			"rules:1: a rule outside a table: begin the table with a line *recent (and 1 more line)",
			"rules:1: the line begins with iptables: a file holds rules and no commands, leave out iptables and -t TABLE, and begin with -A and the chain (and 1 more line)"}},
		{"fifty", "*recent\n:QUEUE0 ACCEPT\n" + strings.Repeat("-A QUEUE0 -y\n", 50) + "COMMIT\n", many(50)},
		{"fifty", "*recent\n:QUEUE0 ACCEPT\n" + strings.Repeat("-A QUEUE0 -y\n", 50) + "COMMIT\n", many(50)},
		{"fifty and one", "*recent\n:QUEUE0 ACCEPT\n" + strings.Repeat("-A QUEUE0 -y\n", 51) + "COMMIT\n", append(many(50), "and 1 more")},
		{"more than fifty", "*recent\n:QUEUE0 ACCEPT\n" + strings.Repeat("-A QUEUE0 -y\n", 53) + "-A a\n-A a\nCOMMIT\n", append(many(50), "and 4 more")},
		{"more than fifty, and a loop before them", "*recent\n:a -\n-A a -j a\n" + strings.Repeat("-A a -y\n", 53) + "COMMIT\n",
			append([]string{"rules:3: " + loop("a", "a")}, append(many(50)[1:], "and 4 more")...)},
		{"two loops", "*recent\n:a -\n:b -\n:c -\n-A c -j c\n-A a -j b\n-A b -g a\nCOMMIT\n", []string{
			"rules:5: " + loop("c", "c"), "rules:7: " + loop("b", "a")}},
		{"loops through the same chain", "*recent\n:a -\n:b -\n:c -\n-A a -j b\n-A a -j c\n-A b -j c\n-A c -j a\n-A c -j b\nCOMMIT\n", []string{
			"rules:8: " + loop("c", "a"), "rules:9: " + loop("c", "b")}},
		{"a loop by two jumps", "*recent\n:a -\n:b -\n-A a -j b\n-A b -p tcp -j a\n-A b -p udp -g a\n-A b -p sctp -j a\nCOMMIT\n", []string{
			"rules:5: " + loop("b", "a") + " (and 2 more lines)"}},
		{"a loop and a bad rule", "*recent\n:a -\n-A a -j a\n-A a -p x\nCOMMIT\n", []string{
			"rules:3: " + loop("a", "a"),
			`rules:4: -p "x" is not a known protocol: write its number, 0 to 255`}},
		{"a loop of a chain that is just not too long", "*recent\n:a -\n:b -\n" + strings.Repeat("-A a -j b\n", 999) + "-A a -j a\n" + strings.Repeat("-A b\n", 999) + "COMMIT\n", []string{
			"rules:1003: " + loop("a", "a")}},
		{"queues in circles", "*recent\n:QUEUE0 ACCEPT\n:QUEUE1 ACCEPT\n:a -\n-A QUEUE0 -j a\n-A QUEUE1 -j a\n-A a -j NFQUEUE\n-A a -j NFQUEUE --queue-num 1\n-A a -p x\nCOMMIT\n", []string{
			"rules:7: NFQUEUE --queue-num 0: a packet of chain QUEUE0 would come back to it for ever, use a queue of another program",
			"rules:8: NFQUEUE --queue-num 1: a packet of chain QUEUE1 would come back to it for ever, use a queue of another program",
			`rules:9: -p "x" is not a known protocol: write its number, 0 to 255`}},
		{"repeats and marks", "*recent\n:QUEUE0 ACCEPT\n:QUEUE1 ACCEPT\n-A QUEUE0 -j REPEAT\n-A QUEUE1 -j REPEAT\n-A QUEUE1 -j MARK --set-mark 1\n-A QUEUE1 -j MARK --set-mark 2\nCOMMIT\n", []string{
			"rules:4: " + repeat, "rules:5: " + repeat, "rules:7: " + marks}},
		{"repeats and marks, and a bad rule", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j REPEAT\n-A QUEUE0 -j MARK --set-mark 1\n-A QUEUE0 -j MARK --xor-mark 2\n-A a\nCOMMIT\n", []string{
			"rules:5: " + marks, "rules:6: chain a" + undeclared}},
		{"a loop, a long chain, a queue and a repeat", "*recent\n:QUEUE0 ACCEPT\n:a -\n:b -\n-A b -j b\n-A QUEUE0 -j REPEAT\n-A QUEUE0 -j NFQUEUE\n" +
			strings.Repeat("-A QUEUE0 -j a\n", 1001) + strings.Repeat("-A a\n", 999) + "COMMIT\n", []string{
			"rules:5: " + loop("b", "b"), "rules:6: " + repeat,
			"rules:7: NFQUEUE --queue-num 0: a packet of chain QUEUE0 would come back to it for ever, use a queue of another program",
			"rules:1007: " + tooLong("QUEUE0")}},
		{"chains that call a long one", doubling(40, "j"), []string{"rules:60: " + tooLong("d19")}},
		{"two long chains", "*recent\n:QUEUE0 ACCEPT\n:a -\n:b -\n:c -\n" + strings.Repeat("-A QUEUE0 -j a\n-A QUEUE0 -j c\n", 1001) +
			strings.Repeat("-A a -j b\n", 1001) + strings.Repeat("-A b\n", 999) + strings.Repeat("-A c\n", 999) + "COMMIT\n", []string{
			"rules:2005: " + tooLong("QUEUE0"), "rules:3008: " + tooLong("a")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("rules", []byte(c.text), classic)
			if want := strings.Join(c.want, "\n"); err == nil || err.Error() != want {
				t.Errorf("refused with\n%v\nwant\n%s", err, want)
			}
		})
	}
}

// many are the errors of an unknown option in line 3 and in those that follow.
func many(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("rules:%d: -y: neither the rule nor a match or target before it has this option; write -m or -j before its options", i+3))
	}
	return all
}
