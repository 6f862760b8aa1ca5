package tests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// lab is a client and a server, two hops of nothing apart.
type lab struct {
	t              testing.TB
	client, server *netns
}

// family is an IP version: the lab's addresses and the tools' names for it.
type family struct {
	name           string
	client, server netip.Addr
	tool           string // prefix of iptables' names
	nft            string // nft's name of the protocol
	icmp           string // iptables' match of an echo request
	nfticmp        string
}

var (
	ipv4 = family{
		name: "IPv4", client: netip.MustParseAddr("10.9.0.2"), server: netip.MustParseAddr("10.9.0.1"),
		tool: "iptables", nft: "ip", icmp: "-p icmp --icmp-type echo-request", nfticmp: "icmp type echo-request",
	}
	ipv6 = family{
		name: "IPv6", client: netip.MustParseAddr("fd09::2"), server: netip.MustParseAddr("fd09::1"),
		tool: "ip6tables", nft: "ip6", icmp: "-p icmpv6 --icmpv6-type echo-request", nfticmp: "icmpv6 type echo-request",
	}
	families = []family{ipv4, ipv6}
)

// newLab makes the two namespaces. Packets flow both ways when it returns.
func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, client: newNetns(t), server: newNetns(t)}
	l.server.sh(t, "ip link add eth0 type veth peer name eth0 netns "+l.client.path)
	for _, end := range []struct {
		ns     *netns
		v4, v6 netip.Addr
	}{{l.server, ipv4.server, ipv6.server}, {l.client, ipv4.client, ipv6.client}} {
		end.ns.sh(t, fmt.Sprintf(`
			ip link set eth0 addrgenmode none
			ip addr add %v/24 dev eth0
			ip addr add %v/64 dev eth0 nodad
			ip link set eth0 up`, end.v4, end.v6))
	}
	for _, f := range families {
		eventually(t, "a way to the server by "+f.name, func() error {
			if err := l.dial(f, "tcp", 1, 100*time.Millisecond); !errors.Is(err, syscall.ECONNREFUSED) {
				return fmt.Errorf("connection to a closed port: %v", err)
			}
			return nil
		})
	}
	return l
}

// dial makes one connection from the client and closes it. The kernel sends
// its second SYN after a second.
func (l *lab) dial(f family, network string, port uint16, timeout time.Duration) (err error) {
	l.client.do(func() {
		var conn net.Conn
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		conn, err = new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(f.server, port).String())
		if err == nil {
			err = conn.Close()
		}
	})
	return err
}

// silence is how long a packet may stay unanswered before it counts as
// dropped; it is less than the second after which TCP sends its SYN again.
const silence = 400 * time.Millisecond

// probe is one new flow from the client to the server.
type probe struct {
	name string
	// match is the kernel's rule for its first packet, by iptables and by nft.
	match func(family) string
	nft   func(family) string
	// rule is our rule's match for it.
	rule func(family) string
	// send sends it and reports whether an answer came in time.
	send func(*lab, family, time.Duration) bool
}

const sshPort = 22

var (
	tcpProbe = probe{
		name:  "TCP",
		match: func(family) string { return "-p tcp --dport 22 --syn" },
		nft:   func(family) string { return "tcp dport 22 tcp flags & (fin|syn|rst|ack) == syn" },
		rule:  func(family) string { return "-p tcp -m tcp --dport 22" },
		send: func(l *lab, f family, patience time.Duration) bool {
			return l.dial(f, "tcp", sshPort, patience) == nil
		},
	}
	udpProbe = probe{
		name:  "UDP",
		match: func(family) string { return "-p udp --dport 22" },
		nft:   func(family) string { return "udp dport 22" },
		rule:  func(family) string { return "-p udp -m udp --dport 22" },
		send: func(l *lab, f family, patience time.Duration) bool {
			return l.echo(f, netip.Addr{}, patience) == nil
		},
	}
	icmpProbe = probe{
		name:  "ICMP",
		match: func(f family) string { return f.icmp },
		nft:   func(f family) string { return f.nfticmp },
		rule: func(f family) string {
			if f == ipv6 {
				return "-p ipv6-icmp -m icmp6 --icmpv6-type 128"
			}
			return "-p icmp -m icmp --icmp-type 8"
		},
		send: func(l *lab, f family, patience time.Duration) bool {
			l.t.Helper()
			return l.client.run(l.t, "ping", "-n", "-q", "-c", "1", "-W", fmt.Sprint(patience.Seconds()), f.server.String()).code == 0
		},
	}
	probes = []probe{tcpProbe, udpProbe, icmpProbe}
)

// passes sends the probe and fails the test where no answer comes.
func (l *lab) passes(p probe, f family) {
	l.t.Helper()
	if !p.send(l, f, patience/2) {
		l.t.Fatalf("%s over %s had no answer, but should pass", p.name, f.name)
	}
}

// dropped sends the probe and fails the test where an answer comes.
func (l *lab) dropped(p probe, f family) {
	l.t.Helper()
	if p.send(l, f, silence) {
		l.t.Fatalf("%s over %s was answered, but should be dropped", p.name, f.name)
	}
}

// serve has the server listen on port 22: TCP connections are taken and
// closed, UDP datagrams go back to where they came from.
func (l *lab) serve() {
	l.t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	var err4, err6 error
	l.server.do(func() {
		tcp, err4 = net.Listen("tcp", fmt.Sprintf(":%d", sshPort))
		udp, err6 = net.ListenPacket("udp", fmt.Sprintf(":%d", sshPort))
	})
	if err := errors.Join(err4, err6); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			udp.WriteTo(buf[:n], from)
		}
	}()
}

// echo sends one datagram to the server's port 22, from an address of the
// client where one is given, and waits for it to come back.
func (l *lab) echo(f family, from netip.Addr, timeout time.Duration) (err error) {
	var local *net.UDPAddr
	if from.IsValid() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	l.client.do(func() {
		var conn *net.UDPConn
		conn, err = net.DialUDP("udp", local, net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.server, sshPort)))
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(timeout))
		if _, err = conn.Write([]byte("knock")); err == nil {
			_, err = conn.Read(make([]byte, 64))
		}
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ECONNREFUSED) {
		l.t.Errorf("datagram to %v: %v", f.server, err)
	}
	return err
}

// feeder is a tool that puts the kernel's rule in place which queues packets.
type feeder struct {
	name string
	add  func(l *lab, f family, p probe, queue int)
}

var feeders = []feeder{
	{"iptables-legacy", iptablesFeeder("legacy")},
	{"iptables-nft", iptablesFeeder("nft")},
	{"nft", nftFeeder},
}

func iptablesFeeder(variant string) func(*lab, family, probe, int) {
	return func(l *lab, f family, p probe, queue int) {
		l.t.Helper()
		l.server.sh(l.t, fmt.Sprintf("%s-%s -w -A INPUT %s -j NFQUEUE --queue-num %d", f.tool, variant, p.match(f), queue))
	}
}

func nftFeeder(l *lab, f family, p probe, queue int) {
	l.t.Helper()
	rule := func(statement string) outcome {
		return l.server.run(l.t, "nft", fmt.Sprintf(
			"table %s lab { chain input { type filter hook input priority 0; %s %s; }; }", f.nft, p.nft(f), statement))
	}
	got := rule(fmt.Sprintf("queue num %d", queue))
	if got.code == 0 {
		return
	}
	if plain := rule("accept"); plain.code == 0 {
		l.t.Skipf("this kernel's nf_tables takes the rule but no queue statement (CONFIG_NFT_QUEUE): %s", got.stderr)
	}
	l.t.Fatalf("nft: %s", got.stderr)
}
