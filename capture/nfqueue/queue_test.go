package nfqueue

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// serve opens a queue and runs it until the test ends.
func serve(t testing.TB, ns *lab.Netns, number uint16, decide func([]capture.Packet)) *Queue {
	t.Helper()
	q, err := openIn(t, ns, number)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- q.Run(decide) }()
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return q
}

const sentinel = 9999 // the port of the datagram that ends a test

// say sends one datagram from the client to each port of the server, then the
// sentinel, and returns when that is received.
func say(t *testing.T, n *lab.Network, f lab.Family, ports ...int) {
	t.Helper()
	end := listenIn(t, n.Server, netip.AddrPortFrom(f.Server, sentinel).String())
	defer end.Close()
	from := listenIn(t, n.Client, netip.AddrPortFrom(f.Client, 0).String())
	for _, port := range append(ports, sentinel) {
		to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.Server, uint16(port)))
		if _, err := from.WriteTo([]byte("knock"), to); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := end.ReadFrom(make([]byte, 16)); err != nil {
		t.Fatalf("the sentinel: %v", err)
	}
}

// counts returns the packets that the rule with a comment has counted.
func counts(t *testing.T, ns *lab.Netns, iptables, comment string) int {
	t.Helper()
	for line := range strings.Lines(ns.Sh(t, iptables+"-save -c")) {
		if strings.Contains(line, "--comment "+comment+" ") || strings.Contains(line, "--comment "+comment+"\n") {
			var packets, bytes int
			if _, err := fmt.Sscanf(line, "[%d:%d]", &packets, &bytes); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return packets
		}
	}
	t.Fatalf("no rule %q", comment)
	return 0
}

// TestVerdicts gives each verdict to real packets. The counters of the kernel's
// rules after the queue show what the kernel did with them.
func TestVerdicts(t *testing.T) {
	const accepted, dropped, marked, repeated, handed = 1001, 1002, 1003, 1004, 1005
	for _, f := range lab.Families {
		t.Run(f.Name, func(t *testing.T) {
			iptables := f.Tool + "-legacy"
			n := newNetwork(t)
			n.Server.Sh(t, iptables+" -t mangle -A INPUT -p udp -m mark --mark 0x99 -j ACCEPT")
			n.Server.Sh(t, iptables+" -t mangle -A INPUT -i eth0 -p udp -j NFQUEUE --queue-num 7")
			for port, mark := range map[int]string{accepted: "0", dropped: "0", marked: "0x42", repeated: "0x99", handed: "0x55"} {
				n.Server.Sh(t, fmt.Sprintf("%s -A INPUT -p udp --dport %d -m mark --mark %s -m comment --comment port%d", iptables, port, mark, port))
			}
			var second atomic.Uint64
			serve(t, n.Server, 8, func(batch []capture.Packet) {
				for i := range batch {
					p := &batch[i]
					second.Add(1)
					p.Verdict, p.Mark, p.Marked = capture.Accept, p.Mark|0x50, true
				}
			})
			var mu sync.Mutex
			seen := make(map[uint16]capture.Packet)
			q := serve(t, n.Server, 7, func(batch []capture.Packet) {
				mu.Lock()
				defer mu.Unlock()
				for i := range batch {
					p := &batch[i]
					seen[p.DstPort] = *p
					switch p.Verdict = capture.Accept; p.DstPort {
					case dropped:
						p.Verdict = capture.Drop
					case marked:
						p.Mark, p.Marked = 0x42, true
					case repeated:
						p.Verdict, p.Mark, p.Marked = capture.Repeat, 0x99, true
					case handed:
						p.Verdict, p.Mark, p.Marked = capture.ToQueue(8), 0x05, true
					}
				}
			})
			say(t, n, f, accepted, dropped, marked, repeated, handed)
			// The packet for the second queue may arrive after the sentinel.
			for deadline := time.Now().Add(5 * time.Second); counts(t, n.Server, iptables, fmt.Sprintf("port%d", handed)) == 0 && time.Now().Before(deadline); {
				runtime.Gosched()
			}
			for port, want := range map[int]int{accepted: 1, dropped: 0, marked: 1, repeated: 1, handed: 1} {
				if got := counts(t, n.Server, iptables, fmt.Sprintf("port%d", port)); got != want {
					t.Errorf("port %d: %d packets after the queue, want %d", port, got, want)
				}
			}
			if second.Load() != 1 {
				t.Errorf("the second queue got %d packets, want 1", second.Load())
			}
			mu.Lock()
			defer mu.Unlock()
			checkPacket(t, seen[marked], f)
			if s := q.Stats(); s.Packets != 6 || s != (Stats{Packets: 6}) {
				t.Errorf("stats %+v, want 6 packets and nothing else", s)
			}
		})
	}
}

// checkPacket checks everything that a queue knows about an arriving datagram.
func checkPacket(t *testing.T, p capture.Packet, f lab.Family) {
	t.Helper()
	if p.Hook != capture.Input || p.In != "eth0" || p.Out != "" || p.Queue != 7 {
		t.Errorf("hook %d in %q out %q queue %d", p.Hook, p.In, p.Out, p.Queue)
	}
	family, length := uint8(unix.NFPROTO_IPV4), uint32(20+8+5)
	if f == lab.IPv6 {
		family, length = unix.NFPROTO_IPV6, length+20
	}
	if p.Family != family || p.TTL != 64 || p.Protocol != unix.IPPROTO_UDP || !p.Transport || p.Length != length {
		t.Errorf("header %+v, length %d", p.Header, p.Length)
	}
	var src, dst [16]byte
	copy(src[:], f.Client.AsSlice())
	copy(dst[:], f.Server.AsSlice())
	if p.Src != src || p.Dst != dst {
		t.Errorf("from %x to %x, want from %s to %s", p.Src, p.Dst, f.Client, f.Server)
	}
}

// TestHooks checks the devices and sockets of packets in every hook. Here nf_tables
// queues them, in TestVerdicts x_tables does.
func TestHooks(t *testing.T) {
	n := newNetwork(t)
	n.Server.Sh(t, "ip link add w0 type veth peer name w1 netns "+n.Client.Path)
	n.Server.Sh(t, "ip addr add 198.51.100.1/24 dev w0")
	n.Server.Sh(t, "ip link set w0 up")
	n.Client.Sh(t, "ip link set w1 up")
	n.Server.Sh(t, "sysctl -qw net.ipv4.ip_forward=1")
	n.Client.Sh(t, "ip route add 198.51.100.0/24 via 10.9.0.1")
	n.Server.Sh(t, "ip neigh add 198.51.100.7 lladdr 02:00:00:00:00:07 dev w0")
	for _, chain := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
		n.Server.Sh(t, fmt.Sprintf("iptables-nft -t mangle -A %s -p udp --dport 1000:9999 -j NFQUEUE --queue-num 7", chain))
	}
	type place struct {
		port    uint16
		hook    capture.Hook
		in, out string
		socket  bool
		ttl     uint8
	}
	got := make(chan place, 64)
	serve(t, n.Server, 7, func(batch []capture.Packet) {
		for i := range batch {
			p := &batch[i]
			p.Verdict = capture.Accept
			got <- place{p.DstPort, p.Hook, p.In, p.Out, p.Socket, p.TTL}
		}
	})
	for _, c := range []struct {
		name string
		from *lab.Netns
		to   string
		port uint16
		want []place
	}{
		{"arriving", n.Client, "10.9.0.1", 1001, []place{
			{1001, capture.Prerouting, "eth0", "", false, 64},
			{1001, capture.Input, "eth0", "", false, 64},
		}},
		{"forwarded", n.Client, "198.51.100.7", 1002, []place{
			{1002, capture.Prerouting, "eth0", "", false, 64},
			{1002, capture.Forward, "eth0", "w0", false, 63},
			{1002, capture.Postrouting, "eth0", "w0", false, 63},
		}},
		{"local", n.Server, "10.9.0.2", 1003, []place{
			{1003, capture.Output, "", "eth0", true, 64},
			{1003, capture.Postrouting, "", "eth0", true, 64},
		}},
	} {
		from := listenIn(t, c.from, "0.0.0.0:0")
		if _, err := from.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(c.to), Port: int(c.port)}); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for i, want := range c.want {
			select {
			case p := <-got:
				if p != want {
					t.Errorf("%s, step %d: %+v, want %+v", c.name, i, p, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s, step %d: no packet", c.name, i)
			}
		}
	}
}

// TestRename renames a device. Packets must have the new name.
func TestRename(t *testing.T) {
	n := newNetwork(t)
	n.Server.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 7")
	var in atomic.Value
	serve(t, n.Server, 7, func(batch []capture.Packet) {
		for i := range batch {
			batch[i].Verdict = capture.Accept
			in.Store(batch[i].In)
		}
	})
	say(t, n, lab.IPv4)
	if in.Load() != "eth0" {
		t.Fatalf("came in by %q, want eth0", in.Load())
	}
	n.Server.Sh(t, "ip link set eth0 name uplink7")
	for deadline := time.Now().Add(nameAge); !time.Now().After(deadline); {
		say(t, n, lab.IPv4) // until the old name is too old
	}
	say(t, n, lab.IPv4)
	if in.Load() != "uplink7" {
		t.Fatalf("came in by %q, want uplink7", in.Load())
	}
}

// TestUndecodable sends a packet of zeros through a queue. A raw socket can send
// nearly any bytes.
func TestUndecodable(t *testing.T) {
	ns := newNamespace(t)
	ns.Sh(t, "ip6tables-nft -A OUTPUT -j NFQUEUE --queue-num 7")
	got := make(chan capture.Header, 8)
	q := serve(t, ns, 7, func(batch []capture.Packet) {
		for i := range batch {
			batch[i].Verdict = capture.Drop
			got <- batch[i].Header
		}
	})
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, make([]byte, 60), 0, &unix.SockaddrInet6{Addr: [16]byte(net.IPv6loopback)})
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case h := <-got:
		if h != (capture.Header{}) {
			t.Errorf("header %+v, want none", h)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no packet")
	}
	if s := q.Stats(); s.Undecodable != 1 || s.Malformed != 0 {
		t.Errorf("stats %+v, want one undecodable", s)
	}
}
