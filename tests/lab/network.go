package lab

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

// Network is a client and a server, two namespaces joined by a veth pair. Each
// end of the pair is called eth0.
type Network struct {
	T              testing.TB
	Client, Server *Netns
}

// Family is an IP version: a Network's addresses, and the tools' names for the
// version.
type Family struct {
	Name           string
	Client, Server netip.Addr
	Tool           string // prefix of iptables' names
	NFT            string // nft's name of the protocol
	ICMP           string // iptables' match of an echo request
	NFTICMP        string // nft's match of an echo request
}

var (
	IPv4 = Family{
		Name: "IPv4", Client: netip.MustParseAddr("10.9.0.2"), Server: netip.MustParseAddr("10.9.0.1"),
		Tool: "iptables", NFT: "ip", ICMP: "-p icmp --icmp-type echo-request", NFTICMP: "icmp type echo-request",
	}
	IPv6 = Family{
		Name: "IPv6", Client: netip.MustParseAddr("fd09::2"), Server: netip.MustParseAddr("fd09::1"),
		Tool: "ip6tables", NFT: "ip6", ICMP: "-p icmpv6 --icmpv6-type echo-request", NFTICMP: "icmpv6 type echo-request",
	}
	Families = []Family{IPv4, IPv6}
)

// SSHPort is the port that the server serves and that the probes knock at.
const SSHPort = 22

// NewNetwork makes the two namespaces. Packets flow both ways when it returns.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	n := &Network{T: t, Client: NewNetns(t), Server: NewNetns(t)}
	n.Server.Sh(t, "ip link add eth0 type veth peer name eth0 netns "+n.Client.Path)
	for _, end := range []struct {
		ns     *Netns
		v4, v6 netip.Addr
	}{{n.Server, IPv4.Server, IPv6.Server}, {n.Client, IPv4.Client, IPv6.Client}} {
		end.ns.Sh(t, fmt.Sprintf(`
			ip link set eth0 addrgenmode none
			ip addr add %v/24 dev eth0
			ip addr add %v/64 dev eth0 nodad
			ip link set eth0 up`, end.v4, end.v6))
	}
	for _, f := range Families {
		Eventually(t, "a way to the server by "+f.Name, func() error {
			if err := n.Dial(f, "tcp", 1, 100*time.Millisecond); !errors.Is(err, syscall.ECONNREFUSED) {
				return fmt.Errorf("connection to a closed port: %v", err)
			}
			return nil
		})
	}
	return n
}

// Serve makes the server listen on port 22: it accepts TCP connections and
// closes them, and sends UDP datagrams back.
func (n *Network) Serve() {
	n.T.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	address := fmt.Sprintf(":%d", SSHPort)
	err := n.Server.Do(func() (err error) {
		if tcp, err = net.Listen("tcp", address); err == nil {
			udp, err = net.ListenPacket("udp", address)
		}
		return err
	})
	if err != nil {
		n.T.Fatal(err)
	}
	n.T.Cleanup(func() { tcp.Close(); udp.Close() })
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
			size, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			udp.WriteTo(buf[:size], from)
		}
	}()
}

// QueueTo adds the kernel's rule that queues the matching packets in a chain of
// the server.
func (n *Network) QueueTo(f Family, table, chain, match string, queue string) {
	n.T.Helper()
	n.Server.Sh(n.T, fmt.Sprintf("%s-legacy -w -t %s -A %s %s -j NFQUEUE %s", f.Tool, table, chain, match, queue))
}

// Dial makes one connection from the client and closes it. The kernel sends
// its second SYN after a second.
func (n *Network) Dial(f Family, network string, port uint16, timeout time.Duration) error {
	return n.Client.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		conn, err := new(net.Dialer).DialContext(ctx, network, netip.AddrPortFrom(f.Server, port).String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Echo sends one datagram to the server's port 22 and waits for it to come
// back. It sends from the client's address `from`, or from any if that is zero.
func (n *Network) Echo(f Family, from netip.Addr, timeout time.Duration) error {
	var local *net.UDPAddr
	if from.IsValid() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	err := n.Client.Do(func() error {
		conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.Server, SSHPort)))
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(timeout))
		if _, err = conn.Write([]byte("knock")); err == nil {
			_, err = conn.Read(make([]byte, 64))
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ECONNREFUSED) {
		n.T.Errorf("datagram to %v: %v", f.Server, err)
	}
	return err
}

// Datagram sends one datagram from the namespace. The process holds the socket
// until the packet is on its way.
func (ns *Netns) Datagram(to netip.AddrPort) error {
	return ns.Do(func() error {
		c, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("knock"))
		return err
	})
}
