package live

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"recentfs/tests/lab"
)

// bridged are sent from l.Client to a namespace on the other side of a bridge in
// l.Server, or are the answers to that, or come from l.Server.
var bridged = []leaver{
	{name: "SYN", hooks: throughHooks, match: oneMatch("-p tcp -m tcp --dport 22 --tcp-flags SYN,ACK SYN"), send: connect},
	{name: "SYN-ACK", hooks: throughHooks, match: oneMatch("-p tcp -m tcp --sport 22 --tcp-flags SYN,ACK SYN,ACK"), send: connect},
	{name: "RST of a closed port", hooks: throughHooks, match: oneMatch("-p tcp -m tcp --sport 99 --tcp-flags RST RST"), send: func(l *lab.Network, f lab.Family) error {
		return refused(l, f, 99)
	}},
	{name: "datagram", hooks: throughHooks, match: oneMatch("-p udp -m udp --dport 9"), send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Datagram(netip.AddrPortFrom(f.Server, 9))
	}},
	{name: "datagram of this namespace, by a cable to the bridge", hooks: throughHooks, match: oneMatch("-o br0 -p udp -m udp --dport 10"), send: func(l *lab.Network, f lab.Family) error {
		return l.Server.Datagram(netip.AddrPortFrom(f.Server, 10))
	}},
	{name: "datagram of this namespace, by the bridge itself", hooks: outHooks, match: oneMatch("-o br0 -p udp -m udp --dport 11"), send: func(l *lab.Network, f lab.Family) error {
		return l.Server.Datagram(netip.AddrPortFrom(beyond[f.Name], 11))
	}},
	{name: "ICMP error", hooks: throughHooks, match: map[string]string{
		"IPv4": "-p icmp -m icmp --icmp-type 3", "IPv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 1",
	}, send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Datagram(netip.AddrPortFrom(f.Server, 99))
	}},
	{name: "echo request", hooks: throughHooks, match: map[string]string{
		"IPv4": "-p icmp -m icmp --icmp-type 8", "IPv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 128",
	}, send: ping},
	{name: "echo reply", hooks: throughHooks, match: map[string]string{
		"IPv4": "-p icmp -m icmp --icmp-type 0", "IPv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 129",
	}, send: ping},
	{name: "neighbour solicitation", hooks: throughHooks, match: map[string]string{
		"IPv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 135",
	}, send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Datagram(netip.MustParseAddrPort("[fd09::66]:9"))
	}},
}

func ping(l *lab.Network, f lab.Family) error {
	l.Passes(lab.ICMPProbe, f)
	return nil
}

// bridge makes a network with a bridge between the client and the one that serves.
// Its Server is the namespace that the bridge is in.
func bridge(t *testing.T) *lab.Network {
	l := &lab.Network{T: t, Client: lab.NewNetns(t), Server: lab.NewNetns(t)}
	between := lab.NewNetns(t)
	between.Sh(t, fmt.Sprintf(`
		ip link add br0 type bridge
		ip link add near type veth peer name eth0 netns %s; ip link add far type veth peer name eth0 netns %s
		ip link add own type veth peer name port
		for d in near far port; do ip link set $d master br0 up; done; ip link set br0 up
		ip addr add 10.6.0.3/24 dev br0; ip addr add fd06::3/64 dev br0 nodad
		ip addr add 10.9.0.3/24 dev own; ip addr add fd09::3/64 dev own nodad; ip link set own up
		sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1`, l.Client.Path, l.Server.Path))
	for ns, host := range map[*lab.Netns]int{l.Client: 2, l.Server: 1} {
		ns.Sh(t, fmt.Sprintf(`
			sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
			ip link set eth0 addrgenmode none
			ip addr add 10.9.0.%[1]d/24 dev eth0; ip addr add fd09::%[1]d/64 dev eth0 nodad
			ip addr add 10.6.0.%[1]d/24 dev eth0; ip addr add fd06::%[1]d/64 dev eth0 nodad
			ip link set eth0 up`, host))
	}
	l.Serve()
	l.Server = between
	return l
}

// TestLiveBridge is TestLiveSockets for packets that pass a bridge (br_netfilter).
func TestLiveBridge(t *testing.T) {
	needKernel(t)
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		t.Skip("this kernel has no br_netfilter: ", err)
	}
	for _, hook := range []string{"FORWARD", "OUTPUT", "POSTROUTING"} {
		t.Run(hook, func(t *testing.T) {
			compareLeavers(t, bridge(t), hook, bridged)
		})
	}
}
