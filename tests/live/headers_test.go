package live

import (
	be "encoding/binary"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/tests/lab"
)

// liveHeaders is how many packets of each family are compared.
const liveHeaders = 1000

// headerRules ask for everything in a packet's headers. Without a target, a
// packet goes past all of them, unless one finds it too broken and drops it.
var headerRules = map[bool][]string{
	false: {
		"", "-f", "! -f", "! -s 127.0.0.1", "-d 127.0.0.0/8", "-p icmp", "! -p icmp",
		"-p icmp -m icmp --icmp-type 8", "-p icmp -m icmp ! --icmp-type 3/1", "-p icmp -m icmp --icmp-type any",
	},
	true: {
		"", "! -s ::1", "-d ::/64", "-p ipv6-icmp", "! -p ipv6-icmp",
		"-p ipv6-icmp -m icmp6 --icmpv6-type 128", "-p ipv6-icmp -m icmp6 ! --icmpv6-type 1/3",
	},
}

var transportRules = []string{
	"-o lo", "-p tcp", "! -p tcp", "-p udp", "-p esp", "! -p sctp",
	"-p tcp -m tcp", "-p tcp -m tcp --dport 22", "-p tcp -m tcp ! --sport 22:1024", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
	"-p udp -m udp --dport 22:53", "-p udp -m udp ! --sport 53", "-p sctp -m sctp --dport 22", "-p sctp -m sctp ! --sport 0:1024",
	"-p tcp -m multiport --dports 22,1024:65535", "-p udp -m multiport ! --sports 53", "-p sctp -m multiport --ports 22",
	"-p dccp -m multiport --dports 22", "-p udplite -m multiport --ports 53,65535",
}

// TestLiveHeaders sends packets with headers of all kinds, many of them cut
// short, through the kernel's rules and ours, and compares all counters after
// each.
func TestLiveHeaders(t *testing.T) {
	needKernel(t)
	for _, tool := range []string{"iptables-legacy", "ip6tables-legacy"} {
		t.Run(tool, func(t *testing.T) {
			r := &referee{t: t, ns: lab.NewNetns(t), tool: tool, v6: tool[:3] == "ip6", lock: filepath.Join(t.TempDir(), "lock")}
			g := &headerGen{rand.New(rand.NewPCG(*liveSeed, 0))}
			send := r.rawSocket()
			whole := 0
			for sent := 0; sent < liveHeaders && !t.Failed(); {
				ours := r.loadHeaderRules(g)
				for range 40 {
					packet := g.packet(r.v6)
					send(packet)
					if ours.decide(packet) {
						whole++
					}
					sent++
					if want, got := r.counters(), ours.counters(t); got != want {
						t.Fatalf("seed %d, packet %d, %x:\n%s", *liveSeed, sent, packet, firstDifference(want, got))
					}
				}
			}
			t.Logf("%d packets compared, %d of them with a transport header", liveHeaders, whole)
			if whole < liveHeaders/10 || whole > liveHeaders*9/10 {
				t.Errorf("%d of %d packets have a transport header: the comparison is one-sided", whole, liveHeaders)
			}
		})
	}
}

// loadHeaderRules loads the rules on both sides, in a random order.
func (r *referee) loadHeaderRules(g *headerGen) *headerSet {
	r.t.Helper()
	rules := append(append([]string(nil), headerRules[r.v6]...), transportRules...)
	g.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	text := "*recent\n:QUEUE0 ACCEPT [0:0]\n:QUEUE1 ACCEPT [0:0]\n:QUEUE2 DROP [0:0]\n"
	for _, rule := range rules {
		text += strings.TrimRight("-A QUEUE2 "+rule, " ") + "\n"
	}
	text += "COMMIT\n"
	kernel := strings.ReplaceAll(toKernel.Replace(text), "-A QUEUE2", "-A OUTPUT")
	if got := r.restore(kernel); got.Code != 0 {
		r.t.Fatalf("%s-restore: %s", r.tool, got.Stderr)
	}
	if got := r.run("", r.tool, "-Z"); got.Code != 0 {
		r.t.Fatalf("%s -Z: %s", r.tool, got.Stderr)
	}
	p := recent.DefaultParams(recent.Modern)
	file, err := ruleset.Parse("rules", []byte(text), p)
	if err != nil {
		r.t.Fatal(err)
	}
	module, err := recent.NewModule(p, jiffies.NewManual(0, 1000))
	if err != nil {
		r.t.Fatal(err)
	}
	reg := module.NewRegistry(nil)
	set, err := file.Load(reg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(set.Close)
	return &headerSet{set}
}

// counters are the kernel's rules with their counters.
func (r *referee) counters() string {
	r.t.Helper()
	return strings.ReplaceAll(r.saved("-c"), "-A OUTPUT", "-A QUEUE2")
}

// headerSet is our rules.
type headerSet struct{ *ruleset.Set }

func (s *headerSet) counters(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	if err := s.Save(&b, true); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// decide takes a packet through our rules as one that leaves by lo.
func (s *headerSet) decide(data []byte) (transport bool) {
	p := capture.Packet{Queue: 2, Hook: capture.Output, Out: "lo", Socket: true, Length: uint32(len(data))}
	p.Header.Decode(data)
	s.Queue(2).Decide([]capture.Packet{p}, 0)
	return p.Transport
}

// rawSocket returns what sends packets, with their headers, from the namespace.
// The kernel's rules must drop each packet, which sending returns as an error.
func (r *referee) rawSocket() (send func([]byte)) {
	r.t.Helper()
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if r.v6 {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	var fd int
	err := r.ns.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { unix.Close(fd) })
	return func(packet []byte) {
		r.t.Helper()
		if err := unix.Sendto(fd, packet, 0, to); err != unix.EPERM {
			r.t.Fatalf("sending %x: %v, want EPERM: the rules drop it", packet, err)
		}
	}
}

// headerGen makes up packets.
type headerGen struct{ *rand.Rand }

func (g *headerGen) packet(v6 bool) []byte {
	if v6 {
		return g.ipv6()
	}
	return g.ipv4()
}

func (g *headerGen) ipv4() []byte {
	head := make([]byte, 20+4*g.IntN(2)*g.IntN(11))
	for i := 20; i < len(head); i++ {
		head[i] = 1 // IPOPT_NOOP
	}
	protocol := g.protocol(unix.IPPROTO_ICMP)
	head[0] = 0x40 | byte(len(head)/4)
	head[8], head[9] = 64, protocol
	if g.IntN(3) == 0 {
		be.BigEndian.PutUint16(head[6:], g.fragment()|uint16(g.IntN(2))<<13) // IP_MF
	}
	copy(head[12:], []byte{127, 0, 0, byte(1 + g.IntN(2))})
	copy(head[16:], []byte{127, 0, 0, 1})
	packet := append(head, g.transport(protocol)...)
	be.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	return packet
}

// fragment is a fragment's offset in units of 8 bytes.
func (g *headerGen) fragment() uint16 { return []uint16{0, 0, 1, 1, 2, 100}[g.IntN(6)] }

func (g *headerGen) ipv6() []byte {
	packet := make([]byte, 40)
	packet[0], packet[7] = 0x60, 64
	packet[23], packet[39] = byte(1+g.IntN(2)), 1
	next := 6 // where the next header's number goes
	for range g.IntN(2) * g.IntN(4) {
		kind := extensionHeaders[g.IntN(len(extensionHeaders))]
		packet[next] = kind
		next = len(packet)
		packet = append(packet, g.extension(kind)...)
	}
	packet[next] = g.protocol(unix.IPPROTO_ICMPV6)
	if g.IntN(12) == 0 {
		packet[next] = unix.IPPROTO_NONE
	}
	packet = append(packet, g.transport(packet[next])...)
	if g.IntN(6) == 0 {
		packet = packet[:40+g.IntN(len(packet)-40+1)]
	}
	be.BigEndian.PutUint16(packet[4:], uint16(len(packet)-40))
	return packet
}

var extensionHeaders = []byte{
	unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT, unix.IPPROTO_FRAGMENT, unix.IPPROTO_AH, unix.IPPROTO_DSTOPTS,
}

// extension is an extension header of the length that it claims.
func (g *headerGen) extension(kind byte) []byte {
	units := g.IntN(3)
	b := make([]byte, 8+8*units)
	b[1] = byte(units)
	switch kind {
	case unix.IPPROTO_FRAGMENT:
		b = b[:8]
		be.BigEndian.PutUint16(b[2:], g.fragment()<<3|uint16(g.IntN(2)))
	case unix.IPPROTO_AH: // in units of 4 bytes, less 2
		b[1] = byte(2 * units)
	}
	return b
}

func (g *headerGen) protocol(icmp byte) byte {
	all := []byte{
		unix.IPPROTO_TCP, unix.IPPROTO_TCP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP,
		unix.IPPROTO_UDPLITE, unix.IPPROTO_ESP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6, icmp, icmp,
	}
	return all[g.IntN(len(all))]
}

// transport is a transport header, whole or cut short anywhere.
func (g *headerGen) transport(protocol byte) []byte {
	b := make([]byte, 24)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	ports := []uint16{22, 53, 1024, 65535}
	be.BigEndian.PutUint16(b, ports[g.IntN(len(ports))])
	be.BigEndian.PutUint16(b[2:], ports[g.IntN(len(ports))])
	if protocol == unix.IPPROTO_ICMP || protocol == unix.IPPROTO_ICMPV6 {
		copy(b, []byte{[]byte{8, 3, 1, 128}[g.IntN(4)], byte(g.IntN(4))})
	}
	if g.IntN(2) == 0 {
		return b
	}
	return b[:g.IntN(len(b))]
}
