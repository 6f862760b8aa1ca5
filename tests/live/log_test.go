package live

import (
	be "encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/tests/lab"
)

// liveLogs is how many packets of each family are logged with each of logOptions.
const liveLogs = 300

var logOptions = []string{
	"", "--log-tcp-sequence --log-tcp-options --log-ip-options --log-uid",
	"--log-tcp-options", "--log-ip-options", "--log-uid --log-tcp-sequence",
}

// TestLiveLog logs packets with headers of all kinds, many of them cut short, by
// the kernel's LOG and by ours, and compares the lines.
func TestLiveLog(t *testing.T) {
	needKernel(t)
	for _, tool := range []string{"iptables-legacy", "ip6tables-legacy"} {
		t.Run(tool, func(t *testing.T) {
			k := openKernelLog(t)
			r := &referee{t: t, ns: lab.NewNetns(t), tool: tool, v6: tool[:3] == "ip6", lock: filepath.Join(t.TempDir(), "lock")}
			g := &headerGen{rand.New(rand.NewPCG(*liveSeed, 1))}
			send := r.rawSocket()
			for i, options := range logOptions {
				mark := uint32(i % 2 * 0xabc)
				prefix := fmt.Sprintf("rfs%d %d: ", os.Getpid(), i)
				target := fmt.Sprintf("-j LOG --log-level debug --log-prefix \"%s\" %s", prefix, options)
				kernel := fmt.Sprintf("*filter\n-A OUTPUT -j MARK --set-mark %d\n-A OUTPUT %s\n-A OUTPUT -j DROP\nCOMMIT\n", mark, target)
				if got := r.restore(kernel); got.Code != 0 {
					t.Fatalf("%s-restore: %s", tool, got.Stderr)
				}
				ours := newLogSet(t, target)
				for n := range liveLogs {
					packet := g.logged(r.v6)
					send(packet)
					want, got := k.line(t, prefix), ours.line(t, packet, mark)
					if got != want {
						t.Fatalf("seed %d, %s, packet %d, %x: logged as\n%s, the kernel:\n%s", *liveSeed, options, n, packet, got, want)
					}
				}
			}
		})
	}
}

// logged is a packet with anything in its fields. It may be an error about another.
func (g *headerGen) logged(v6 bool) []byte {
	p := g.packet(v6)
	if g.IntN(3) == 0 {
		p = g.errorAbout(p, v6)
	}
	if v6 {
		be.BigEndian.PutUint32(p, 6<<28|g.Uint32()>>4)
		return p
	}
	p[1] = byte(g.Uint32())
	be.BigEndian.PutUint16(p[4:], uint16(1+g.IntN(65535))) // the kernel replaces an ID of 0
	p[6] |= byte(g.IntN(2)<<6 | g.IntN(2)<<7)              // IP_DF, IP_CE
	return p
}

// errorAbout is an ICMP message with the packet in it, perhaps cut short.
func (g *headerGen) errorAbout(p []byte, v6 bool) []byte {
	if g.IntN(3) == 0 {
		p = p[:g.IntN(len(p)+1)]
	}
	message := []byte{byte(g.IntN(20)), byte(g.IntN(6)), 0, 0, byte(g.Uint32()), byte(g.Uint32()), byte(g.Uint32()), byte(g.Uint32())}
	protocol := byte(unix.IPPROTO_ICMP)
	if v6 {
		message[0] = byte([]int{1, 2, 3, 4, 128, 129, 130, 133, 135}[g.IntN(9)])
		protocol = unix.IPPROTO_ICMPV6
	}
	message = append(message, p...)
	if v6 {
		h := make([]byte, 40)
		h[6], h[7], h[23], h[39] = protocol, byte(g.Uint32()|1), 1, 1
		be.BigEndian.PutUint16(h[4:], uint16(len(message)))
		return append(h, message...)
	}
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45, byte(g.Uint32()|1), protocol
	copy(h[12:], []byte{127, 0, 0, 1, 127, 0, 0, 1})
	be.BigEndian.PutUint16(h[2:], uint16(len(message)+20))
	return append(h, message...)
}

// logSet is a rule of ours that logs.
type logSet struct {
	*ruleset.Set
	now jiffies.Jiffies
}

func newLogSet(t *testing.T, target string) *logSet {
	t.Helper()
	p := recent.DefaultParams(recent.Modern)
	file, err := ruleset.Parse("rules", []byte("*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 "+target+"\nCOMMIT\n"), p)
	if err != nil {
		t.Fatal(err)
	}
	module, err := recent.NewModule(p, jiffies.NewManual(0, 1000))
	if err != nil {
		t.Fatal(err)
	}
	set, err := file.Load(module.NewRegistry(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	return &logSet{Set: set}
}

// line is what we log about a packet that leaves by lo, sent by root.
func (s *logSet) line(t *testing.T, data []byte, mark uint32) string {
	t.Helper()
	p := capture.Packet{Hook: capture.Output, Out: "lo", Socket: true, Owned: true, Length: uint32(len(data)), Data: data[:min(len(data), 256)], Mark: mark}
	if !p.Header.Decode(p.Data) {
		t.Fatalf("%x has no header", data)
	}
	s.now += 1000 // the limit lets one packet pass in half a second
	s.Queue(0).Decide([]capture.Packet{p}, s.now)
	select {
	case r := <-s.Logs():
		return r.String()
	default:
		t.Fatalf("%x was not logged", data)
		return ""
	}
}

// TestLiveLogQueued compares the lines about packets that come through a queue, and
// their owners.
func TestLiveLogQueued(t *testing.T) {
	needKernel(t)
	k := openKernelLog(t)
	n := lab.NewNetwork(t)
	prefix := fmt.Sprintf("rfs%d queued: ", os.Getpid())
	target := `-j LOG --log-tcp-sequence --log-tcp-options --log-uid --log-prefix "` + prefix + `"`
	d := lab.StartDaemon(t, n.Server, "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 "+target+"\nCOMMIT\n")
	for _, f := range lab.Families {
		for _, chain := range []string{"INPUT", "OUTPUT"} {
			for _, protocol := range []string{"tcp", "udp"} {
				for _, target := range []string{target, "-j NFQUEUE"} {
					n.Server.Sh(t, fmt.Sprintf("%s-legacy -w -t mangle -A %s -p %s %s", f.Tool, chain, protocol, target))
				}
			}
		}
	}
	for _, f := range lab.Families {
		for _, c := range []struct {
			name string
			want *regexp.Regexp
			send func() error
		}{
			{"TCP that comes", regexp.MustCompile(`IN=eth0 OUT= MAC= .* DPT=7 .* SYN URGP=0 OPT \(`), func() error {
				if err := n.Dial(f, "tcp", 7, lab.Patience); !errors.Is(err, unix.ECONNREFUSED) {
					return fmt.Errorf("a closed port: %w", err)
				}
				return nil
			}},
			{"UDP that comes", regexp.MustCompile(`IN=eth0 OUT= MAC= .* DPT=9 LEN=13 $`), func() error {
				return n.Client.Datagram(netip.AddrPortFrom(f.Server, 9))
			}},
			{"UDP of a process", regexp.MustCompile(`IN= OUT=eth0 .* DPT=9 LEN=9 UID=1234 GID=2345 $`), func() error {
				n.Server.Sh(t, fmt.Sprintf("setpriv --reuid 1234 --regid 2345 --clear-groups bash -c 'echo > /dev/udp/%v/9'", f.Client))
				return nil
			}},
		} {
			t.Run(f.Name+" "+c.name, func(t *testing.T) {
				if err := c.send(); err != nil {
					t.Fatal(err)
				}
				for {
					line := linkHeader.ReplaceAllString(k.line(t, prefix), "MAC= ")
					lab.Eventually(t, "our line "+line, func() error {
						if said := d.Output.String(); !strings.Contains(said, line) {
							return errors.New(said)
						}
						return nil
					})
					if c.want.MatchString(line) {
						return
					}
				}
			})
		}
	}
}

// linkHeader is what a queue does not hand over.
var linkHeader = regexp.MustCompile(`MAC=\S+ `)

// kernelLog is /dev/kmsg.
type kernelLog struct {
	fd    int
	level int // of the last line
}

// openKernelLog makes LOG log in every network namespace, and reads the kernel's log
// from here on.
func openKernelLog(t *testing.T) *kernelLog {
	t.Helper()
	const sysctl = "/proc/sys/net/netfilter/nf_log_all_netns"
	was, err := os.ReadFile(sysctl)
	if err != nil {
		t.Skipf("the kernel logs packets of the first network namespace only: %v", err)
	}
	if err := os.WriteFile(sysctl, []byte("1"), 0); err != nil {
		t.Skipf("the kernel logs packets of the first network namespace only: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(sysctl, was, 0); err != nil {
			t.Error(err)
		}
	})
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open /dev/kmsg: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		t.Fatalf("seek /dev/kmsg: %v", err)
	}
	return &kernelLog{fd: fd}
}

// line is the next line that begins with the prefix.
func (k *kernelLog) line(t *testing.T, prefix string) (line string) {
	t.Helper()
	buf := make([]byte, 8192)
	lab.Eventually(t, "a line of the kernel with "+prefix, func() error {
		for {
			n, err := unix.Read(k.fd, buf)
			if errors.Is(err, unix.EPIPE) {
				continue // the reader was too slow: lines are lost
			}
			if err != nil {
				return err
			}
			_, text, _ := strings.Cut(string(buf[:n]), ";")
			if line, _, _ = strings.Cut(text, "\n"); strings.HasPrefix(line, prefix) {
				if _, err := fmt.Sscanf(string(buf[:n]), "%d,", &k.level); err != nil {
					return err
				}
				k.level &= 7 // without the facility
				return nil
			}
		}
	})
	return line
}

// TestLiveLogKmsg: run --log-packets kmsg puts our line into the kernel's log, at the
// rule's level.
func TestLiveLogKmsg(t *testing.T) {
	needKernel(t)
	k := openKernelLog(t)
	ns := lab.NewNetns(t)
	prefix := fmt.Sprintf("rfs%d kmsg: ", os.Getpid())
	lab.StartDaemon(t, ns, "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -j LOG --log-level notice --log-prefix \""+prefix+"\"\nCOMMIT\n", "--log-packets", "kmsg")
	ns.Sh(t, "iptables-legacy -w -A INPUT -p udp -j NFQUEUE")
	if err := ns.Datagram(netip.MustParseAddrPort("127.0.0.1:9")); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`: IN=lo OUT= MAC= SRC=127\.0\.0\.1 DST=127\.0\.0\.1 LEN=33 .* PROTO=UDP SPT=\d+ DPT=9 LEN=13 $`)
	if line := k.line(t, prefix); !want.MatchString(line) {
		t.Errorf("the kernel's log has %q, want %s", line, want)
	}
	if k.level != 5 {
		t.Errorf("at level %d, want that of notice", k.level)
	}
}
