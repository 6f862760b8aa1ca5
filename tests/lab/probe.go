package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Silence is how long a packet may stay unanswered before it counts as
// dropped. It is less than the second after which TCP sends its SYN again.
const Silence = 400 * time.Millisecond

// Probe is one new flow from the client to the server.
type Probe struct {
	Name string
	// Match is the kernel's rule for the first packet, in iptables' words, NFT
	// in nft's.
	Match func(Family) string
	NFT   func(Family) string
	// Rule is the match of a rule of ours for the packet.
	Rule func(Family) string
	// Send sends the packet and reports whether an answer came in time.
	Send func(*Network, Family, time.Duration) bool
}

var (
	TCPProbe = Probe{
		Name:  "TCP",
		Match: func(Family) string { return "-p tcp --dport 22 --syn" },
		NFT:   func(Family) string { return "tcp dport 22 tcp flags & (fin|syn|rst|ack) == syn" },
		Rule:  func(Family) string { return "-p tcp -m tcp --dport 22" },
		Send: func(n *Network, f Family, timeout time.Duration) bool {
			return n.Dial(f, "tcp", SSHPort, timeout) == nil
		},
	}
	UDPProbe = Probe{
		Name:  "UDP",
		Match: func(Family) string { return "-p udp --dport 22" },
		NFT:   func(Family) string { return "udp dport 22" },
		Rule:  func(Family) string { return "-p udp -m udp --dport 22" },
		Send: func(n *Network, f Family, timeout time.Duration) bool {
			return n.Echo(f, netip.Addr{}, timeout) == nil
		},
	}
	ICMPProbe = Probe{
		Name:  "ICMP",
		Match: func(f Family) string { return f.ICMP },
		NFT:   func(f Family) string { return f.NFTICMP },
		Rule: func(f Family) string {
			if f == IPv6 {
				return "-p ipv6-icmp -m icmp6 --icmpv6-type 128"
			}
			return "-p icmp -m icmp --icmp-type 8"
		},
		Send: func(n *Network, f Family, timeout time.Duration) bool {
			n.T.Helper()
			return n.Client.Run(n.T, "ping", "-n", "-q", "-c", "1", "-W", fmt.Sprint(timeout.Seconds()), f.Server.String()).Code == 0
		},
	}
	Probes = []Probe{TCPProbe, UDPProbe, ICMPProbe}
)

// Passes sends the probe and fails the test if no answer comes.
func (n *Network) Passes(p Probe, f Family) {
	n.T.Helper()
	if !p.Send(n, f, Patience/2) {
		n.T.Fatalf("%s over %s had no answer, but should pass", p.Name, f.Name)
	}
}

// Dropped sends the probe and fails the test if an answer comes.
func (n *Network) Dropped(p Probe, f Family) {
	n.T.Helper()
	if p.Send(n, f, Silence) {
		n.T.Fatalf("%s over %s was answered, but should be dropped", p.Name, f.Name)
	}
}

// Feeder is a tool that adds the kernel's rule which queues packets.
type Feeder struct {
	Name string
	Add  func(n *Network, f Family, p Probe, queue int)
}

var Feeders = []Feeder{
	{"iptables-legacy", iptablesFeeder("legacy")},
	{"iptables-nft", iptablesFeeder("nft")},
	{"nft", nftFeeder},
}

func iptablesFeeder(variant string) func(*Network, Family, Probe, int) {
	return func(n *Network, f Family, p Probe, queue int) {
		n.T.Helper()
		n.Server.Sh(n.T, fmt.Sprintf("%s-%s -w -A INPUT %s -j NFQUEUE --queue-num %d", f.Tool, variant, p.Match(f), queue))
	}
}

func nftFeeder(n *Network, f Family, p Probe, queue int) {
	n.T.Helper()
	rule := func(statement string) Outcome {
		return n.Server.Run(n.T, "nft", fmt.Sprintf(
			"table %s lab { chain input { type filter hook input priority 0; %s %s; }; }", f.NFT, p.NFT(f), statement))
	}
	got := rule(fmt.Sprintf("queue num %d", queue))
	if got.Code == 0 {
		return
	}
	if plain := rule("accept"); plain.Code == 0 {
		why, _, _ := strings.Cut(got.Stderr, "\n") // what follows is the rule, another one for each case
		n.T.Skipf("this kernel's nf_tables takes the rule but no queue statement (CONFIG_NFT_QUEUE): %s", why)
	}
	n.T.Fatalf("nft: %s", got.Stderr)
}
