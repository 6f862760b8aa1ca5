package ruleset

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// TestFiles has files that are refused.
func TestFiles(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "rules:1: no table"},
		{"comments only", "# a\n\n  # b\n", "rules:4: no table"},
		{"no commit", "*recent\n", "rules:2: the table has no end"},
		{"commit only", "COMMIT\n", "rules:1: a rule outside a table"},
		{"other table", "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", "rules:1: table *filter is the kernel's"},
		{"nameless table", "*\n", "rules:1: table * is unknown"},
		{"rule before the table", "-A QUEUE0\n*recent\nCOMMIT\n", "rules:1: a rule outside a table"},
		{"table in a table", "*recent\n*recent\nCOMMIT\n", "rules:2: *recent inside *recent"},
		{"two tables", "*recent\nCOMMIT\n*recent\nCOMMIT\n", "rules:3: a second *recent: put its chains and rules into the first"},
		{"DOS text", "*recent\r\nCOMMIT\r\n", "rules:1: the line ends with CR LF, as on Windows: convert the file"},
		{"NUL", "*recent\n-A\x00\nCOMMIT\n", "rules:2: character '\\x00'"},
		{"chain without policy", "*recent\n:QUEUE0\nCOMMIT\n", "rules:2: a chain is declared as"},
		{"chain with too much", "*recent\n:QUEUE0 ACCEPT [0:0] x\nCOMMIT\n", "rules:2: a chain is declared as"},
		{"policy counters", "*recent\n:QUEUE0 ACCEPT [0]\nCOMMIT\n", `rules:2: counters "[0]"`},
		{"policy of a user's chain", "*recent\n:a ACCEPT\nCOMMIT\n", "rules:2: chain a: only QUEUE chains have a policy"},
		{"built-in chain without policy", "*recent\n:QUEUE0 -\nCOMMIT\n", `rules:2: policy "-" of chain QUEUE0: use ACCEPT or DROP`},
		{"other policy", "*recent\n:QUEUE0 REJECT\nCOMMIT\n", `rules:2: policy "REJECT"`},
		{"queue too large", "*recent\n:QUEUE65536 ACCEPT\nCOMMIT\n", "rules:2: chain QUEUE65536: built-in chains are"},
		{"leading zero", "*recent\n:QUEUE00 ACCEPT\nCOMMIT\n", "rules:2: chain QUEUE00: built-in chains are"},
		{"range upside down", "*recent\n:QUEUE3-1 ACCEPT\nCOMMIT\n", "rules:2: chain QUEUE3-1: built-in chains are"},
		{"range of one", "*recent\n:QUEUE3-3 ACCEPT\nCOMMIT\n", "rules:2: chain QUEUE3-3: built-in chains are"},
		{"too many queues", "*recent\n:QUEUE0-1024 ACCEPT\nCOMMIT\n", "rules:2: chain QUEUE0-1024: a file has 1024 queues"},
		{"too many queues of two chains", "*recent\n:QUEUE0-1022 ACCEPT\n:QUEUE2000-2001 ACCEPT\nCOMMIT\n", "rules:3: chain QUEUE2000-2001: a file has 1024 queues"},
		{"overlap", "*recent\n:QUEUE0-3 ACCEPT\n:QUEUE2 DROP\nCOMMIT\n", "rules:3: chains QUEUE0-3 and QUEUE2 have queues in common"},
		{"chain twice", "*recent\n:a -\n-N a\nCOMMIT\n", "rules:3: chain a is declared twice"},
		{"name too long", "*recent\n:abcdefghijklmnopqrstuvwxyz123 -\nCOMMIT\n", "rules:2: chain name"},
		{"name with dash", "*recent\n:-a -\nCOMMIT\n", `rules:2: chain name "-a"`},
		{"name with exclamation mark", "*recent\n:!a -\nCOMMIT\n", `rules:2: chain name "!a"`},
		{"name of a target", "*recent\n:MARK -\nCOMMIT\n", "rules:2: chain name MARK is the name of a target"},
		{"name with quote", "*recent\n:a\"b -\nCOMMIT\n", "rules:2: chain name"},
		{"name with space", "*recent\n-N \"a b\"\nCOMMIT\n", "rules:2: chain name"},
		{"-N of a built-in chain", "*recent\n-N QUEUE0\nCOMMIT\n", "rules:2: -N QUEUE0: built-in chains are declared as"},
		{"-N with a rule", "*recent\n-N a -j DROP\nCOMMIT\n", "rules:2: -N stands alone"},
		{"-P of a user's chain", "*recent\n:a -\n-P a DROP\nCOMMIT\n", "rules:3: -P a: only QUEUE chains"},
		{"-P of nothing", "*recent\n-P QUEUE0 DROP\nCOMMIT\n", "rules:2: chain QUEUE0 is not declared: put :QUEUE0 ACCEPT [0:0] above"},
		{"-P without policy", "*recent\n:QUEUE0 ACCEPT\n-P QUEUE0\nCOMMIT\n", "rules:3: -P needs a value"},
		{"undeclared chain", "*recent\n-A a -j DROP\nCOMMIT\n", "rules:2: chain a is not declared: put :a - [0:0] above"},
		{"undeclared chain of the kernel", "*recent\n:QUEUE0 ACCEPT\n-A INPUT -j DROP\nCOMMIT\n", "rules:3: chain INPUT is the kernel's: write QUEUE0, the chain for packets of NFQUEUE --queue-num 0"},
		{"chain of the kernel with a policy", "*recent\n:FORWARD ACCEPT\nCOMMIT\n", "rules:2: chain FORWARD is the kernel's: write QUEUE0"},
		{"queue without a number", "*recent\n:QUEUE ACCEPT\nCOMMIT\n", "rules:2: chain QUEUE lacks the number of its queue: write QUEUE0"},
		{"user's chain with the name of a queue without a number", "*recent\n-N QUEUE\nCOMMIT\n", "rules:2: chain QUEUE lacks the number of its queue: write QUEUE0"},
		{"undeclared queue without a number", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE -j DROP\nCOMMIT\n", "rules:3: chain QUEUE lacks the number of its queue: write QUEUE0"},
		{"undeclared queue", "*recent\n:QUEUE0-3 ACCEPT\n-A QUEUE1 -j DROP\nCOMMIT\n", "rules:3: chain QUEUE1 is not declared"},
		{"no command", "*recent\n:QUEUE0 ACCEPT\n-p tcp\nCOMMIT\n", "rules:3: nothing to do"},
		{"two commands", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -N a\nCOMMIT\n", "rules:3: -N and -A in one line"},
		{"other command", "*recent\n:QUEUE0 ACCEPT\n-D QUEUE0 -j DROP\nCOMMIT\n", "rules:3: -D: a file has -A, -I, -N and -P only"},
		{"insert at 0", "*recent\n:QUEUE0 ACCEPT\n-I QUEUE0 0 -j DROP\nCOMMIT\n", `rules:3: -I QUEUE0 "0": a rule has a number from 1 on`},
		{"insert at a word", "*recent\n:QUEUE0 ACCEPT\n-I QUEUE0 x -j DROP\nCOMMIT\n", `rules:3: -I QUEUE0 "x": a rule has a number`},
		{"insert beyond the end", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0\n-I QUEUE0 3\nCOMMIT\n", "rules:4: -I QUEUE0 3: the largest number is 2 here, one more than the chain has rules by now"},
		{"-N with counters", "*recent\n-N a -c 1 2\nCOMMIT\n", "rules:2: -N stands alone"},
		{"-A and -I", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -I QUEUE0\nCOMMIT\n", "rules:3: -I and -A in one line"},
		{"rule after COMMIT", "*recent\nCOMMIT\n-A QUEUE0\n", "rules:3: text after COMMIT: put rules before it"},
		{"rule after another table", "*nat\nCOMMIT\n-A QUEUE0\n*recent\nCOMMIT\n", "rules:3: a rule outside a table"},
		{"rule after both tables", "*recent\nCOMMIT\n*nat\nCOMMIT\n-A QUEUE0\n", "rules:5: text after COMMIT"},
		{"*recent in another table", "*filter\n*recent\nCOMMIT\n", "rules:2: *recent inside *filter: end the table with COMMIT"},
		{"another table in *recent", "*recent\n*nat\nCOMMIT\n", "rules:2: *nat inside *recent: end the table with COMMIT"},
		{"another table without end", "*recent\nCOMMIT\n*nat\n", "rules:4: the table *nat has no end"},
		{"unknown table", "*recnt\nCOMMIT\n", "rules:1: table *recnt is unknown: recentfs has the table *recent alone"},
		{"BOM", "\xef\xbb\xbf*recent\nCOMMIT\n", "rules:1: the file begins with a byte order mark (BOM): save it as UTF-8 without one"},
		{"UTF-16", "\xff\xfe*\x00r\x00", "rules:1: the file is UTF-16: save it as UTF-8"},
		{"UTF-16, big-endian", "\xfe\xff\x00*\x00r", "rules:1: the file is UTF-16: save it as UTF-8"},
		{"old Macintosh text", "*recent\rCOMMIT\n", `rules:1: character '\r'`},
		{"iptables", "*recent\n:QUEUE0 ACCEPT\niptables -A QUEUE0 -j DROP\nCOMMIT\n", "rules:3: the line begins with iptables: a file holds rules and no commands, leave out iptables and -t TABLE, and begin with -A and the chain"},
		{"ip6tables", "*recent\nip6tables -A QUEUE0\nCOMMIT\n", "rules:2: the line begins with ip6tables"},
		{"path of iptables", "*recent\n/sbin/iptables -A QUEUE0\nCOMMIT\n", "rules:2: the line begins with /sbin/iptables"},
		{"sudo", "sudo iptables-legacy -A INPUT\n", "rules:1: a rule outside a table"},
		{"rule counters", "*recent\n:QUEUE0 ACCEPT\n[1 -A QUEUE0\nCOMMIT\n", "rules:3: counters at"},
		{"jump to a misspelt chain", "*recent\n:QUEUE0 ACCEPT\n:LIST -\n-A QUEUE0 -j LITS\nCOMMIT\n", "rules:4: -j LITS: no chain or target has this name: did you mean LIST?"},
		{"jump beside a chain of one letter", "*recent\n:QUEUE0 ACCEPT\n:a -\n-A QUEUE0 -j b\nCOMMIT\n", "rules:4: -j b: no chain of this name is declared above"},
		{"jump beside a built-in chain", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j QUEUE1\nCOMMIT\n", "rules:3: -j QUEUE1: no chain of this name is declared above"},
		{"jump to a later chain", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j a\n-N a\nCOMMIT\n", "rules:3: -j a: no chain of this name is declared above"},
		{"loop of one", "*recent\n:a -\n-A a -j a\nCOMMIT\n", "rules:3: a packet would loop: chain a"},
		{"loop", "*recent\n:QUEUE0 ACCEPT\n:a -\n:b -\n-A QUEUE0 -j a\n-A a -j b\n-A b -p tcp -j a\nCOMMIT\n", "rules:7: a packet would loop: chain a leads back to itself by the jump from b to a"},
		{"loop by goto", "*recent\n:a -\n:b -\n-A a -g b\n-A b -g a\nCOMMIT\n", "rules:5: a packet would loop"},
		{"own queue", "*recent\n:QUEUE0-3 ACCEPT\n:a -\n-A QUEUE0-3 -j a\n-A a -j NFQUEUE --queue-num 2\nCOMMIT\n", "rules:5: NFQUEUE --queue-num 2: a packet of chain QUEUE0-3 would come back"},
		{"queues in a circle", "*recent\n:QUEUE0 ACCEPT\n:QUEUE1 ACCEPT\n-A QUEUE0 -j NFQUEUE --queue-num 1\n-A QUEUE1 -j NFQUEUE\nCOMMIT\n", "rules:5: NFQUEUE --queue-num 0: a packet of chain QUEUE0 would come back"},
		{"repeat without mark", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j REPEAT\nCOMMIT\n", "rules:3: REPEAT would loop"},
		{"mark after repeat", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j REPEAT\n-A QUEUE0 -j MARK --set-mark 1\nCOMMIT\n", "rules:3: REPEAT would loop"},
		{"one way without mark", "*recent\n:QUEUE0 ACCEPT\n:QUEUE1 ACCEPT\n:a -\n-A QUEUE0 -j MARK --set-mark 1\n-A QUEUE0 -j a\n-A QUEUE1 -j a\n-A a -j REPEAT\nCOMMIT\n", "rules:8: REPEAT would loop"},
		{"repeat and a mark turned over", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --xor-mark 1\n-A QUEUE0 -j REPEAT\nCOMMIT\n", "rules:3: with REPEAT, this MARK can give a packet the mark that it came with"},
		{"repeat and two marks", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -m mark --mark 0 -j MARK --set-mark 1\n-A QUEUE0 -m mark --mark 1 -j MARK --set-mark 0\n-A QUEUE0 -j REPEAT\nCOMMIT\n", "rules:4: with REPEAT, this MARK can give a packet the mark that it came with"},
		{"repeat, a bit and a mark", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --or-mark 2\n-A QUEUE0 -j MARK --set-mark 1\n-A QUEUE0 -j REPEAT\nCOMMIT\n", "rules:4: with REPEAT, this MARK can give a packet the mark that it came with"},
		{"mark only where goto leads", "*recent\n:QUEUE0 ACCEPT\n:a -\n-A QUEUE0 -p tcp -g a\n-A QUEUE0 -j REPEAT\n-A a -j MARK --set-mark 1\nCOMMIT\n", "rules:5: REPEAT would loop"},
		{"too many addresses", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -s 1" + strings.Repeat(",1", 64) + " -d 1" + strings.Repeat(",1", 64) + "\nCOMMIT\n", "rules:3: 65 source and 65 destination addresses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse("rules", []byte(c.text), classic)
			if err == nil {
				t.Fatalf("taken, and saved as\n%s", saved(t, f))
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("refused with %q, want %q", err, c.want)
			}
		})
	}
}

// TestTaken has files that are taken, and what Save makes of them.
func TestTaken(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "*recent\nCOMMIT", "*recent\nCOMMIT\n"},
		{"comments and spaces", "# a\n\n\t*recent \n  # b\n :QUEUE0  ACCEPT\t[7:8] \n[3:4]  -A  QUEUE0\t-j DROP\n COMMIT \n\n# c",
			"*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -j DROP\nCOMMIT\n"},
		{"new chains and policies", "*recent\n:QUEUE0 ACCEPT\n-N b\n--new-chain a\n-P QUEUE0 DROP\n-A b -j a\nCOMMIT\n",
			"*recent\n:QUEUE0 DROP [0:0]\n:a - [0:0]\n:b - [0:0]\n-A b -j a\nCOMMIT\n"},
		{"order", "*recent\n:b -\n:QUEUE10 ACCEPT\n:a -\n:QUEUE2-3 DROP\n:B -\n-A b -g a\n-A QUEUE10 -j b\n-A QUEUE2-3 -j B\n-A B -j a\nCOMMIT\n",
			"*recent\n:QUEUE2-3 DROP [0:0]\n:QUEUE10 ACCEPT [0:0]\n:B - [0:0]\n:a - [0:0]\n:b - [0:0]\n-A QUEUE2-3 -j B\n-A QUEUE10 -j b\n-A B -j a\n-A b -g a\nCOMMIT\n"},
		{"lists", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -s 1.2.3.4,5.0.0.0/8 -d 9.9.9.9,8.8.8.8\nCOMMIT\n",
			"*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -s 1.2.3.4/32 -d 9.9.9.9/32\n-A QUEUE0 -s 1.2.3.4/32 -d 8.8.8.8/32\n-A QUEUE0 -s 5.0.0.0/8 -d 9.9.9.9/32\n-A QUEUE0 -s 5.0.0.0/8 -d 8.8.8.8/32\nCOMMIT\n"},
		{"chain of another queue", "*recent\n:QUEUE0 ACCEPT\n:QUEUE1 ACCEPT\n-A QUEUE0 -j NFQUEUE --queue-num 1\nCOMMIT\n",
			"*recent\n:QUEUE0 ACCEPT [0:0]\n:QUEUE1 ACCEPT [0:0]\n-A QUEUE0 -j NFQUEUE --queue-num 1\nCOMMIT\n"},
		{"mark in a chain before", "*recent\n:QUEUE0 ACCEPT\n:a -\n-A a -j MARK --set-mark 1\n-A QUEUE0 -j a\n-A QUEUE0 -j REPEAT\nCOMMIT\n",
			"*recent\n:QUEUE0 ACCEPT [0:0]\n:a - [0:0]\n-A QUEUE0 -j a\n-A QUEUE0 -j REPEAT\n-A a -j MARK --set-xmark 0x1/0xffffffff\nCOMMIT\n"},
		{"repeat and bits", "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j MARK --or-mark 1\n-A QUEUE0 -j MARK --or-mark 2\n-A QUEUE0 -j REPEAT\nCOMMIT\n",
			"*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -j MARK --set-xmark 0x1/0x1\n-A QUEUE0 -j MARK --set-xmark 0x2/0x2\n-A QUEUE0 -j REPEAT\nCOMMIT\n"},
		{"built-in chain twice", "*recent\n:QUEUE0 DROP\n-A QUEUE0 -j DROP\n:QUEUE0 ACCEPT\nCOMMIT\n", "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -j DROP\nCOMMIT\n"},
		{"policy with counters", "*recent\n:QUEUE0 ACCEPT\n-P QUEUE0 DROP -c 1 2\nCOMMIT\n", "*recent\n:QUEUE0 DROP [0:0]\nCOMMIT\n"},
		{"inserted", "*recent\n:QUEUE0 ACCEPT\n-I QUEUE0 -p tcp\n-IQUEUE0 -p udp\n-I QUEUE0 2 -p sctp\n--insert=QUEUE0 4 -p esp\n-I QUEUE0 0x2 -c 1 2 -p ah\n-I QUEUE0 ! -p gre\nCOMMIT\n",
			"*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 ! -p gre\n-A QUEUE0 -p udp\n-A QUEUE0 -p ah\n-A QUEUE0 -p sctp\n-A QUEUE0 -p tcp\n-A QUEUE0 -p esp\nCOMMIT\n"},
		{"other tables", "*nat\n:PREROUTING ACCEPT [0:0]\n-A nonsense here\nCOMMIT\n*recent\n:QUEUE0 ACCEPT\nCOMMIT\n# more\n*filter\nnonsense\nCOMMIT\n", "*recent\n:QUEUE0 ACCEPT [0:0]\nCOMMIT\n"},
		{"as long a name as there may be", "*recent\n:abcdefghijklmnopqrstuvwxyz12 -\nCOMMIT\n", "*recent\n:abcdefghijklmnopqrstuvwxyz12 - [0:0]\nCOMMIT\n"},
		{"as many queues as there may be", "*recent\n:QUEUE0-1022 ACCEPT\n:QUEUE2000 DROP\nCOMMIT\n", "*recent\n:QUEUE0-1022 ACCEPT [0:0]\n:QUEUE2000 DROP [0:0]\nCOMMIT\n"},
		{"repeat where no packet comes", "*recent\n:a -\n-A a -j REPEAT\nCOMMIT\n", "*recent\n:a - [0:0]\n-A a -j REPEAT\nCOMMIT\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := saved(t, mustParse(t, c.text, classic)); got != c.want {
				t.Errorf("saved as\n%s, want\n%s", got, c.want)
			}
		})
	}
}

func TestPassedOver(t *testing.T) {
	f := mustParse(t, "*nat\nx\nCOMMIT\n*recent\nCOMMIT\n*filter\nCOMMIT\n", classic)
	want := []string{
		"rules:1: table *nat is passed over, it is the kernel's: put it to work by sed '/^\\*recent/,/^COMMIT/d' rules | iptables-restore",
		"rules:6: table *filter is passed over, it is the kernel's: put it to work by sed '/^\\*recent/,/^COMMIT/d' rules | iptables-restore",
	}
	if got := f.PassedOver(); !slices.Equal(got, want) {
		t.Errorf("passed over: %q, want %q", got, want)
	}
}

func TestMask(t *testing.T) {
	rule := "-s 10.0.0.0/8 -m recent --set --name A --mask 255.255.0.0 --rsource"
	f := mustParse(t, document(rule), modern)
	if got := saved(t, f); !strings.Contains(got, rule) {
		t.Errorf("saved as\n%s", got)
	}
	want := [16]byte{255, 255}
	if got := f.chains[0].rules[0].matches[0].matcher.(*recentMatch).info.Mask; got != want {
		t.Errorf("mask %v, want %v", got, want)
	}
	// The mask is a host for iptables: getaddrinfo, and so inet_aton, reads it.
	for text, want := range map[string]string{
		"255": "0.0.0.255", "255.255": "255.0.0.255", "255.255.65280": "255.255.255.0", "0xffffff00": "255.255.255.0", "0377.0.0.0": "255.0.0.0",
	} {
		got := saved(t, mustParse(t, document("-m recent --set --mask "+text), modern))
		if !strings.Contains(got, "--mask "+want+" --rsource") {
			t.Errorf("--mask %s saved as\n%s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", ".", "1.2.3.4.5", "256.0.0.0", "255.255.65536", "4294967296", "+1", "255.", ".255", "08.0.0.0", "255.0.0.0x"} {
		if _, err := Parse("rules", []byte(document("-m recent --set --mask \""+text+"\"")), modern); err == nil {
			t.Errorf("--mask %q taken", text)
		}
	}
	f = mustParse(t, document("-m recent --set --mask 255.255.255.255"), modern)
	if got := f.chains[0].rules[0].matches[0].matcher.(*recentMatch).info.Mask; got != recent.AllOnes {
		t.Errorf("mask %v, want all ones", got)
	}
}

func TestServices(t *testing.T) {
	all := parseServices([]byte("# names\nssh\t22/tcp\ndomain 53/udp nameserver # dns\nbroken\nbad x/tcp\nlarge 70000/tcp\nssh 99/tcp\n"))
	for name, want := range map[string]uint16{"ssh/tcp": 22, "domain/udp": 53, "nameserver/udp": 53, "ssh/udp": 0, "bad/tcp": 0, "large/tcp": 0} {
		if got := all[name]; got != want {
			t.Errorf("%s is port %d, want %d", name, got, want)
		}
	}
}

// TestWholeFile compares all that is printed of a table with iptables-save.
func TestWholeFile(t *testing.T) {
	lab.NeedRoot(t)
	if _, err := exec.LookPath("iptables-legacy-restore"); err != nil {
		t.Skip(err)
	}
	names := strings.NewReplacer("*filter", "*recent", "INPUT", "QUEUE0", "FORWARD", "QUEUE1", "OUTPUT", "QUEUE2")
	text := `*filter
:zone - [0:0]
:INPUT DROP [0:0]
:Zone - [0:0]
:FORWARD ACCEPT [0:0]
:alpha_2 - [0:0]
:alpha-1 - [0:0]
:OUTPUT ACCEPT [0:0]
-A alpha-1 -s 192.0.2.0/24,198.51.100.1 -m recent --update --seconds 60 --name k -j RETURN
-A zone -p tcp --dport 22 -m recent --set -g alpha-1
-A INPUT -j Zone
-A FORWARD -i eth+ -m comment --comment "to the zone" -j zone
-A INPUT -j LOG --log-prefix "in: "
-A Zone -j alpha_2
-I FORWARD 2 -s 192.0.2.1,192.0.2.2 -d 198.51.100.1,198.51.100.2 -c 3 4 -j NFQUEUE --queue-num 9 --queue-bypass
-I FORWARD -p ipv6-icmp -s 4294967295
-I OUTPUT -p udp
:INPUT ACCEPT [0:0]
COMMIT
`
	out, err := inNamespace(t, "iptables-legacy-restore && iptables-legacy-save -t filter", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want strings.Builder
	for line := range strings.Lines(out) {
		if line[0] != '#' {
			want.WriteString(names.Replace(line))
		}
	}
	if got := saved(t, mustParse(t, names.Replace(text), classic)); got != want.String() {
		t.Errorf("saved as\n%s, and by iptables as\n%s", got, want.String())
	}
}
