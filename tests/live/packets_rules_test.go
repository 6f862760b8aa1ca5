package live

import (
	"fmt"
	"strings"

	"recentfs/tests/lab"
)

// kernels are the rules for iptables-restore.
func (s *scenario) kernels(f lab.Family) string {
	var b strings.Builder
	b.WriteString("*mangle\n:LIVE - [0:0]\n")
	for _, h := range s.hooks {
		fmt.Fprintf(&b, "-A %s -p udp -m udp --dport %d -j LIVE\n", h, livePort)
	}
	for _, r := range s.rules {
		if r.family == f {
			fmt.Fprintf(&b, "-A LIVE %s\n", r.text)
		}
	}
	b.WriteString("-A LIVE -j NFQUEUE --queue-num 0\nCOMMIT\n")
	return b.String()
}

// ours are the rules for the daemon: those for IPv4 first, which is also the
// order in which the kernel gets them.
func (s *scenario) ours() string {
	var b strings.Builder
	for _, f := range lab.Families {
		for _, r := range s.rules {
			if r.family == f {
				fmt.Fprintf(&b, "-A QUEUE0 %s %s\n", map[string]string{"IPv4": "-4", "IPv6": "-6"}[f.Name], r.text)
			}
		}
	}
	return fmt.Sprintf(feed, b.String())
}

func (s *scenario) rule(f lab.Family) string {
	var b strings.Builder
	b.WriteString("-p udp")
	if s.IntN(4) == 0 {
		fmt.Fprintf(&b, " -m udp --sport %d", s.port())
	}
	s.header(&b, f)
	for range 1 + s.IntN(5)/2 {
		b.WriteString(" -m recent")
		s.match(&b, f)
	}
	return b.String()
}

// header adds a -m ttl or -m length now and then.
func (s *scenario) header(b *strings.Builder, f lab.Family) {
	if f.Name == "IPv4" && s.IntN(4) == 0 {
		ttls := []int{0, 1, 2, 62, 63, 64, 65, 127, 254, 255}
		fmt.Fprintf(b, " -m ttl %s %d", []string{"--ttl-eq", "! --ttl-eq", "--ttl-lt", "--ttl-gt"}[s.IntN(4)], ttls[s.IntN(len(ttls))])
	}
	if s.IntN(4) == 0 {
		size := 28 + s.IntN(100) // of IPv4 with up to 100 bytes, see packet
		if f.Name == "IPv6" {
			size += 20
		}
		fmt.Fprintf(b, " -m length %s--length %s", []string{"", "! "}[s.IntN(2)],
			[]string{fmt.Sprint(size), fmt.Sprint(size, ":"), fmt.Sprint(":", size), fmt.Sprint(size, ":", size+20)}[s.IntN(4)])
	}
}

// match makes up one -m recent that the kernel takes.
func (s *scenario) match(b *strings.Builder, f lab.Family) {
	action := []string{"--set", "--set", "--set", "--rcheck", "--rcheck", "--update", "--update", "--remove"}[s.IntN(8)]
	if s.IntN(4) == 0 {
		b.WriteString(" !")
	}
	fmt.Fprintf(b, " %s --name %s", action, s.names[s.IntN(len(s.names))])
	if action == "--rcheck" || action == "--update" {
		if s.timed && s.IntN(3) > 0 || s.IntN(3) == 0 {
			s.window(b)
		}
		if s.IntN(2) == 0 {
			fmt.Fprintf(b, " --hitcount %d", s.hitcount())
		}
		if s.IntN(3) == 0 {
			b.WriteString(" --rttl")
		}
	}
	b.WriteString([]string{"", " --rsource", " --rdest"}[s.IntN(3)])
	if s.IntN(6) == 0 {
		masks := []string{"255.255.255.0", "255.255.255.252", "255.0.255.254", "0.0.0.255", "0.0.0.0"}
		if f.Name == "IPv6" {
			masks = []string{"ffff:ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc", "::ff", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
		} else if len(s.families) == 1 {
			// The kernel masks an IPv6 address to four bytes with it. We take it
			// for no mask (ruleset.readMask).
			masks = append(masks, "255.255.255.255")
		}
		fmt.Fprintf(b, " --mask %s", masks[s.IntN(len(masks))])
	}
}

func (s *scenario) window(b *strings.Builder) {
	seconds := []uint32{60, 3600, 1 << 24, 1<<32 - 1}[s.IntN(4)]
	if s.timed {
		// The last one's product with HZ wraps to 816 ms (at 250 and 1000 Hz).
		seconds = []uint32{1, 1, 2, 3, 17179870}[s.IntN(5)]
	}
	s.seconds = append(s.seconds, seconds)
	fmt.Fprintf(b, " --seconds %d", seconds)
	if s.IntN(2) == 0 {
		b.WriteString(" --reap")
	}
}

func (s *scenario) hitcount() int {
	if s.IntN(6) == 0 {
		return []int{0, 15, 31, 32, 33, 40, 64, 100}[s.IntN(8)]
	}
	return 1 + s.IntN(5)
}

// windows are the lengths of the rules' --seconds in jiffies, by recent_mt's
// 32-bit product.
func (s *scenario) windows(hz uint32) (all []int64) {
	for _, n := range s.seconds {
		all = append(all, int64(n*hz))
	}
	return all
}
