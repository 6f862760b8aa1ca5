package live

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"recentfs/tests/lab"
)

// others are sent by the server's kernel on behalf of others: by a tunnel (vxlan) to
// the client, by SYNPROXY, and by TEE.
var others = []leaver{
	{name: "tunnel around a process's", hooks: outHooks, match: oneMatch(outer), send: func(l *lab.Network, f lab.Family) error {
		return l.Server.Datagram(inTunnel(f, "10.%d.0.2:9"))
	}},
	{name: "tunnel around a forwarded one", hooks: outHooks, match: oneMatch(outer), send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Datagram(inTunnel(f, "10.%d.1.2:9"))
	}},
	{name: "tunnel around an ICMP error", hooks: outHooks, match: oneMatch(outer + " -m length --length 90:160"), send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Datagram(inTunnel(f, "10.%d.0.1:99"))
	}, unlike: []string{"IPv4", "IPv6"}},
	{name: "tunnel around a SYN-ACK", hooks: outHooks, match: map[string]string{
		"IPv4": outer + " -m length --length 110", "IPv6": outer + " -m length --length 130",
	}, send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Do(func() error {
			c, err := net.Dial("tcp", inTunnel(f, "10.%d.0.1:22").String())
			if err != nil {
				return err
			}
			return c.Close()
		})
	}, unlike: []string{"IPv4", "IPv6"}},
	{name: "SYN-ACK of SYNPROXY", hooks: outHooks, match: oneMatch("-p tcp -m tcp --sport 86 --tcp-flags SYN,ACK SYN,ACK"), send: unanswered(86)},
	{name: "copy of a SYN", hooks: []string{"OUTPUT"}, match: oneMatch("-p tcp -m tcp --dport 87"), send: unanswered(87), unlike: []string{"IPv4", "IPv6"}},
	{name: "copy of a SYN", hooks: []string{"POSTROUTING"}, match: oneMatch("-p tcp -m tcp --dport 87"), send: unanswered(87)},
	{name: "copy of a datagram", hooks: outHooks, match: oneMatch("-p udp -m udp --dport 88"), send: func(l *lab.Network, f lab.Family) error {
		return l.Client.Datagram(netip.AddrPortFrom(f.Server, 88))
	}},
}

// unanswered tries to connect to a port of the server.
func unanswered(port uint16) func(*lab.Network, lab.Family) error {
	return func(l *lab.Network, f lab.Family) error {
		_ = l.Dial(f, "tcp", port, lab.Silence) // SYNPROXY has no server, and TEE's port is closed
		return nil
	}
}

const outer = "-p udp -m udp --dport 4789"

// inTunnel is an address in the tunnel over the family f.
func inTunnel(f lab.Family, format string) netip.AddrPort {
	return netip.MustParseAddrPort(fmt.Sprintf(format, map[string]int{"IPv4": 74, "IPv6": 76}[f.Name]))
}

// TestLiveOthers is TestLiveSockets for what the kernel sends on behalf of others.
func TestLiveOthers(t *testing.T) {
	needKernel(t)
	for _, hook := range outHooks {
		t.Run(hook, func(t *testing.T) {
			l := lab.NewNetwork(t)
			l.Serve()
			for ns, end := range map[*lab.Netns][2]int{l.Server: {1, 2}, l.Client: {2, 1}} {
				for _, f := range lab.Families {
					us, peer := f.Server, f.Client
					if ns == l.Client {
						us, peer = peer, us
					}
					net := inTunnel(f, "10.%d.0.0:0").Addr().As4()[1]
					ns.Sh(t, fmt.Sprintf(`
						ip link add v%[1]d address 02:00:00:00:%[1]d:0%[2]d type vxlan id %[1]d local %[4]v remote %[5]v dstport 4789 dev eth0
						sysctl -qw net.ipv6.conf.v%[1]d.disable_ipv6=1 # or the kernel sends reports of its groups whenever it likes
						ip addr add 10.%[1]d.0.%[2]d/24 dev v%[1]d; ip link set v%[1]d addrgenmode none up
						ip neigh add 10.%[1]d.0.%[3]d lladdr 02:00:00:00:%[1]d:0%[3]d dev v%[1]d`, net, end[0], end[1], us, peer))
				}
			}
			l.Server.Sh(t, `
				sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0
				ip route add 10.74.1.0/24 via 10.74.0.2; ip route add 10.76.1.0/24 via 10.76.0.2
				for t in iptables ip6tables; do
					peer=10.9.0.2; test $t = iptables || peer=fd09::2
					$t-legacy -w -t raw -A PREROUTING -p tcp --dport 86 --syn -j CT --notrack
					$t-legacy -w -A INPUT -p tcp --dport 86 -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY
					$t-legacy -w -t raw -A PREROUTING -p tcp --dport 87 -j TEE --gateway $peer
					$t-legacy -w -t raw -A PREROUTING -p udp --dport 88 -j TEE --gateway $peer
				done`)
			l.Client.Sh(t, "ip route add 10.74.1.0/24 via 10.9.0.1; ip route add 10.76.1.0/24 via 10.9.0.1")
			compareLeavers(t, l, hook, others)
		})
	}
}
