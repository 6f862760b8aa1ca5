package live

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"testing"

	"recentfs/tests/lab"
)

// leaver is a kind of packet that leaves the server, with or without a socket.
type leaver struct {
	name  string
	hooks []string          // where it leaves
	match map[string]string // what it is, and no other, by family
	send  func(*lab.Network, lab.Family) error
	// unlike are the families in which the kernel's attributes do not show what
	// this packet is: see hasSocket of capture/nfqueue, and README.md.
	unlike []string
}

var (
	outHooks     = []string{"OUTPUT", "POSTROUTING"}
	throughHooks = []string{"FORWARD", "POSTROUTING"}
)

func oneMatch(m string) map[string]string { return map[string]string{"IPv4": m, "IPv6": m} }

// leavers are sent one after the other.
var leavers = []leaver{
	{name: "a process's", hooks: outHooks, match: oneMatch("-p udp -m udp --dport 9"), send: func(l *lab.Network, f lab.Family) error {
		return l.Server.Datagram(netip.AddrPortFrom(f.Client, 9))
	}},
	{name: "forwarded to where it came from", hooks: throughHooks, match: oneMatch("-p udp -m udp --dport 98"), send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Datagram(netip.AddrPortFrom(beyond[f.Name], 98))
	}},
	{name: "ICMP error", hooks: outHooks, match: map[string]string{
		"IPv4": "-p icmp -m icmp --icmp-type 3", "IPv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 1",
	}, send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Datagram(netip.AddrPortFrom(f.Server, 99))
	}},
	{name: "echo reply", hooks: outHooks, match: map[string]string{
		"IPv4": "-p icmp -m icmp --icmp-type 0", "IPv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 129",
	}, send: func(l *lab.Network, f lab.Family) error {
		l.Passes(lab.ICMPProbe, f)
		return nil
	}},
	{name: "SYN-ACK", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 22 --tcp-flags SYN,ACK SYN,ACK"), send: connect},
	{name: "FIN", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 22 --tcp-flags FIN FIN"), send: connect},
	{name: "ACK of TIME-WAIT", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 22 --dport 4001 --tcp-flags SYN,FIN,PSH,RST,ACK ACK"), send: timeWait},
	{name: "RST of a closed port", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 99 --tcp-flags RST RST"), send: func(l *lab.Network, f lab.Family) error {
		return refused(l, f, 99)
	}},
	{name: "RST of REJECT", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 81 --tcp-flags RST RST"), send: func(l *lab.Network, f lab.Family) error {
		return refused(l, f, 81)
	}},
	{name: "RST of no connection", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 97 --tcp-flags RST RST"), send: func(l *lab.Network, f lab.Family) error {
		return segment(l, f, 4002, 97)
	}},
	{name: "RST of no connection, at an open port", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 22 --dport 4003 --tcp-flags RST RST"), send: func(l *lab.Network, f lab.Family) error {
		return segment(l, f, 4003, lab.SSHPort)
	}},
	{name: "RST of a listener that closes", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 83 --tcp-flags RST RST"), send: unaccepted},
	{name: "RST of a closed connection", hooks: outHooks, match: oneMatch("-p tcp -m tcp --dport 78 --tcp-flags RST RST"), send: late, unlike: []string{"IPv6"}},
	{name: "report of a group", hooks: outHooks, match: map[string]string{
		"IPv4": "-p 2", "IPv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 143",
	}, send: join},
	{name: "neighbour solicitation", hooks: outHooks, match: map[string]string{
		"IPv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 135",
	}, send: func(l *lab.Network, f lab.Family) error {
		return l.Server.Datagram(netip.MustParseAddrPort("[fd09::66]:9"))
	}},
	{name: "to a group and back", hooks: outHooks, match: oneMatch("-p udp -m udp --dport 5353"), send: toGroup},
	{name: "SYN-ACK with a cookie", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 22 --tcp-flags SYN,ACK SYN,ACK"), send: func(l *lab.Network, f lab.Family) error {
		l.Server.Sh(l.T, "sysctl -qw net.ipv4.tcp_syncookies=2")
		defer l.Server.Sh(l.T, "sysctl -qw net.ipv4.tcp_syncookies=1")
		return connect(l, f)
	}, unlike: []string{"IPv4", "IPv6"}},
}

// beyond are addresses that the client routes to the server, and the server back
// to the client. groups are the multicast groups that the server joins.
var (
	beyond = map[string]netip.Addr{"IPv4": netip.MustParseAddr("10.6.0.1"), "IPv6": netip.MustParseAddr("fd06::1")}
	groups = map[string]netip.Addr{"IPv4": netip.MustParseAddr("239.1.1.1"), "IPv6": netip.MustParseAddr("ff05::1234%eth0")}
)

// TestLiveSockets makes the kernel send all kinds of packets and compares the TTL
// that its rules and ours see: recent_mt adds 1 for a packet that leaves without a
// socket.
func TestLiveSockets(t *testing.T) {
	needKernel(t)
	for _, hook := range []string{"FORWARD", "OUTPUT", "POSTROUTING"} {
		t.Run(hook, func(t *testing.T) {
			l := lab.NewNetwork(t)
			l.Serve()
			l.Server.Sh(t, `
				sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
				sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0
				ip route add 10.6.0.0/24 via 10.9.0.2; ip route add fd06::/64 via fd09::2; ip route add 239.0.0.0/8 dev eth0
				iptables-legacy -w -A INPUT -p tcp --dport 81 -j REJECT --reject-with tcp-reset
				ip6tables-legacy -w -A INPUT -p tcp --dport 81 -j REJECT --reject-with tcp-reset`)
			l.Client.Sh(t, "ip route add 10.6.0.0/24 via 10.9.0.1; ip route add fd06::/64 via fd09::1")
			compareLeavers(t, l, hook, leavers)
		})
	}
}

// compareLeavers compares those that leave at the hook, one after the other.
func compareLeavers(t *testing.T, l *lab.Network, hook string, leavers []leaver) {
	d := lab.StartDaemon(t, l.Server, fmt.Sprintf(feed, ""), "--compat", "modern")
	compared := 0
	for _, p := range leavers {
		for _, f := range lab.Families {
			if slices.Contains(p.hooks, hook) && p.match[f.Name] != "" {
				t.Run(p.name+" "+f.Name, func(t *testing.T) { compareLeaver(t, l, d, hook, f, &p) })
				compared++
			}
		}
	}
	t.Logf("%d kinds of packets compared", compared)
}

// compareLeaver passes one kind of packet through both at one hook. The first rule
// counts a packet that has the same TTL as the packet before it.
func compareLeaver(t *testing.T, l *lab.Network, d *lab.Daemon, hook string, f lab.Family, p *leaver) {
	match := p.match[f.Name]
	rules := func(chain string) (text string) {
		for _, r := range []string{"--rcheck --rttl", "--set"} {
			text += fmt.Sprintf("-A %s %s -m recent %s --name s\n", chain, match, r)
		}
		return text
	}
	// Ours first: a packet that comes before the kernel's rules is seen by neither.
	// The kernel sends reports of its groups whenever it likes.
	d.SetRules(fmt.Sprintf("*recent\n:QUEUE0 ACCEPT [0:0]\n%sCOMMIT\n", rules("QUEUE0")))
	d.Ask("reload")
	l.Server.Sh(t, fmt.Sprintf("%s-legacy-restore -w <<'END'\n*mangle\n:LIVE - [0:0]\n-A %s %s -j LIVE\n%s-A LIVE -j NFQUEUE --queue-num 0\nCOMMIT\nEND\n",
		f.Tool, hook, match, rules("LIVE")))
	defer func() {
		l.Server.Sh(t, f.Tool+"-legacy -w -t mangle -F")
		d.SetRules(fmt.Sprintf(feed, ""))
		d.Ask("reload")
	}()
	defer func(lt, dt testing.TB) { l.T, d.T = lt, dt }(l.T, d.T)
	l.T, d.T = t, t
	if err := p.send(l, f); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "both say the same", func() error {
		kernel, ours := kernelSeen(t, l.Server, f), daemonSeen(t, d)
		if len(kernel.rows) == 0 || len(kernel.rows) != len(ours.rows) || kernel.rows[0].stamps != ours.rows[0].stamps {
			return fmt.Errorf("the packet is still on its way: the kernel has %+v, ours %+v", kernel, ours)
		}
		if same, unlike := reflect.DeepEqual(kernel, ours), slices.Contains(p.unlike, f.Name); same == unlike {
			return fmt.Errorf("the kernel has %+v, ours %+v; expected to differ: %v", kernel, ours, unlike)
		}
		return nil
	})
}

// seen is what a side knows about a packet: the entry of its source, and the
// rules' counters.
type seen struct {
	rows   []row
	counts []string
}

func kernelSeen(t *testing.T, ns *lab.Netns, f lab.Family) (s seen) {
	t.Helper()
	text := ns.Sh(t, "cat /proc/self/net/xt_recent/s")
	s.counts = ruleCounts(ns.Sh(t, f.Tool+"-legacy-save -c -t mangle | grep -v NFQUEUE"), "LIVE")
	var err error
	if s.rows, err = rows(text); err != nil {
		t.Fatal(err)
	}
	return s
}

func daemonSeen(t *testing.T, d *lab.Daemon) (s seen) {
	t.Helper()
	text, err := os.ReadFile(d.File("s"))
	if err == nil {
		s.rows, err = rows(string(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.counts = ruleCounts(d.Ask("rules"), "QUEUE0")
	return s
}
