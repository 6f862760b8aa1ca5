package live

import (
	be "encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/tests/lab"
)

// world is a namespace in which packets pass the kernel's rules and then the
// daemon's. Packets come in by v0, whose other end is v1. Forwarded packets leave
// by v2.
type world struct {
	t                      *testing.T
	ns                     *lab.Netns
	d                      *lab.Daemon
	clock                  *jiffies.System
	hz                     uint32
	tables                 int      // open kernel's directory of tables
	queue                  *os.File // the kernel's list of queues
	send                   func(func())
	packet, raw4, raw6, v1 int // sockets to send by, and a device's index
}

const (
	nearMAC = "\x02\x00\x00\x00\x00\x01" // v0's
	farMAC  = "\x02\x00\x00\x00\x00\x02" // v1's
	feed    = "*recent\n:QUEUE0 DROP [0:0]\n%sCOMMIT\n"
)

// newWorld makes world number n. One thread on one processor sends all its packets,
// so that they come to the queue in order.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{t: t, ns: lab.NewNetns(t)}
	w.ns.Sh(t, `
		sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
		ip link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02
		ip link add v2 type veth peer name v3
		for d in v0 v1 v2 v3; do ip link set $d addrgenmode none up; done
		ip addr add 10.50.0.1/24 dev v0; ip addr add fd50::1/64 dev v0 nodad
		ip addr add 10.51.0.1/24 dev v2; ip addr add fd51::1/64 dev v2 nodad
		ip neigh add 10.51.0.2 lladdr 02:00:00:00:00:03 dev v2 nud permanent
		ip neigh add fd51::2 lladdr 02:00:00:00:00:03 dev v2 nud permanent
		ip route add 10.52.0.0/16 via 10.51.0.2; ip route add fd52::/64 via fd51::2
		ip route add local 10.53.0.0/16 dev lo; ip route add local fd53::/64 dev lo`)
	w.d = lab.StartDaemon(t, w.ns, fmt.Sprintf(feed, ""), "--compat", "modern")
	var err error
	if w.clock, err = jiffies.NewSystem(); err != nil {
		t.Fatal(err)
	}
	w.hz = w.clock.HZ()
	if err := w.ns.Do(w.open); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.queue.Close()
		for _, fd := range []int{w.tables, w.packet, w.raw4, w.raw6} {
			unix.Close(fd)
		}
	})
	calls := make(chan func())
	t.Cleanup(func() { close(calls) })
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the test
		var one unix.CPUSet
		one.Set(n % runtime.NumCPU())
		// Refused: there is only one processor anyway.
		_ = unix.SchedSetaffinity(0, &one)
		for f := range calls {
			f()
		}
	}()
	w.send = func(f func()) {
		done := make(chan struct{})
		calls <- func() { defer close(done); f() }
		<-done
	}
	return w
}

// open opens what belongs to the namespace.
func (w *world) open() (err error) {
	if w.tables, err = unix.Open(procDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	if w.queue, err = os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue"); err != nil {
		return err
	}
	if w.packet, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if w.raw4, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return err
	}
	if w.raw6, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return err
	}
	v1, err := net.InterfaceByName("v1")
	if err == nil {
		w.v1 = v1.Index
	}
	return err
}

// queueState counts the packets that wait for a verdict and all that came so far.
func (w *world) queueState() (waiting, came uint32) {
	w.t.Helper()
	buf := make([]byte, 256)
	n, _ := w.queue.ReadAt(buf, 0)
	var number, portid, mode, length, full, lost uint32
	if _, err := fmt.Sscan(string(buf[:n]), &number, &portid, &waiting, &mode, &length, &full, &lost, &came); err != nil || full+lost != 0 {
		w.t.Fatalf("nfnetlink_queue: %q: %v", buf[:n], err)
	}
	return waiting, came
}

// emit sends the packet on its way.
func (w *world) emit(p *livePacket) error {
	data := p.bytes()
	var err error
	switch {
	case p.way != "out":
		protocol := uint16(unix.ETH_P_IP)
		if p.src.Is6() {
			protocol = unix.ETH_P_IPV6
		}
		frame := append([]byte(nearMAC+farMAC), byte(protocol>>8), byte(protocol))
		err = unix.Sendto(w.packet, append(frame, data...), 0, &unix.SockaddrLinklayer{Ifindex: w.v1})
	case p.src.Is4():
		err = unix.Sendto(w.raw4, data, 0, &unix.SockaddrInet4{Addr: p.dst.As4()})
	default:
		err = unix.Sendto(w.raw6, data, 0, &unix.SockaddrInet6{Addr: p.dst.As16()})
	}
	if err != nil {
		return fmt.Errorf("send %+v: %w", p, err)
	}
	return nil
}

// bytes are the packet from the network header on.
func (p *livePacket) bytes() []byte {
	udp := make([]byte, 8+p.payload)
	be.BigEndian.PutUint16(udp, p.port)
	be.BigEndian.PutUint16(udp[2:], livePort)
	be.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	if p.src.Is6() {
		h := make([]byte, 40)
		h[0], h[6], h[7] = 0x60, unix.IPPROTO_UDP, p.ttl
		be.BigEndian.PutUint16(h[4:], uint16(len(udp)))
		copy(h[8:], p.src.AsSlice())
		copy(h[24:], p.dst.AsSlice())
		return append(h, udp...)
	}
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45, p.ttl, unix.IPPROTO_UDP
	be.BigEndian.PutUint16(h[2:], uint16(20+len(udp)))
	copy(h[12:], p.src.AsSlice())
	copy(h[16:], p.dst.AsSlice())
	sum := uint32(0)
	for i := 0; i < len(h); i += 2 {
		sum += uint32(be.BigEndian.Uint16(h[i:]))
	}
	sum = sum>>16 + sum&0xffff
	be.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	return append(h, udp...)
}
