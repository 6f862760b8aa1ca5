package live

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

var liveSeed = flag.Uint64("live-seed", 1, "the seed of the random comparisons with the kernel")

// liveWrites is how many random writes are compared with the kernel's file.
const liveWrites = 100_000

// TestLiveWrites writes the same random text to the kernel's file and to ours. It
// compares what write(2) returns, the position after it, and the table.
func TestLiveWrites(t *testing.T) {
	t.Parallel()
	needKernel(t)
	ns := lab.NewNetns(t)
	ns.Sh(t, "iptables-legacy -w -A INPUT -m recent --set --name w")
	d := lab.StartDaemon(t, ns, "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -m recent --set --name w\nCOMMIT\n", "--compat", "modern")

	g := &writeGen{rand.New(rand.NewPCG(*liveSeed, 0))}
	compared, accepted := 0, 0
	err := ns.Do(func() error {
		kernel, err := openBoth(filepath.Join(procDir, "w"), d.File("w"))
		if err != nil {
			return err
		}
		defer kernel.close()
		for compared < liveWrites && !t.Failed() {
			text := g.text()
			kernel.compareWrite(t, text)
			if kernel.lastErr == nil {
				accepted++
			}
			compared++
			if t.Failed() {
				t.Errorf("seed %d, write %d: %q", *liveSeed, compared, text)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes compared, %d of them accepted", compared, accepted)
	if accepted < compared/10 || accepted == compared {
		t.Errorf("%d of %d writes accepted: the comparison is one-sided", accepted, compared)
	}
}

// pair is the kernel's file and ours, each open.
type pair struct {
	kernel, ours int
	lastErr      error
}

func openBoth(kernel, ours string) (*pair, error) {
	k, err := unix.Open(kernel, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kernel, err)
	}
	o, err := unix.Open(ours, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(k)
		return nil, fmt.Errorf("%s: %w", ours, err)
	}
	return &pair{kernel: k, ours: o}, nil
}

func (p *pair) close() {
	unix.Close(p.kernel)
	unix.Close(p.ours)
}

// compareWrite writes text to both from position 0. After a flush the position
// is not compared: procfs leaves it, which FUSE cannot.
func (p *pair) compareWrite(t *testing.T, text string) {
	kn, kpos, kerr := writeFrom0(p.kernel, text)
	on, opos, oerr := writeFrom0(p.ours, text)
	p.lastErr = kerr
	if kn != on || errnoOf(kerr) != errnoOf(oerr) {
		t.Errorf("write: kernel %d, %v; ours %d, %v", kn, kerr, on, oerr)
	}
	if kpos != opos && !strings.HasPrefix(text, "/") {
		t.Errorf("position: kernel %d, ours %d", kpos, opos)
	}
	ktext, kerr := fdRead(p.kernel)
	otext, oerr := fdRead(p.ours)
	if kerr != nil || oerr != nil {
		t.Errorf("read: kernel %v, ours %v", kerr, oerr)
		return
	}
	compareTables(t, ktext, otext)
}

func compareTables(t *testing.T, ktext, otext string) {
	krows, kerr := rows(ktext)
	orows, oerr := rows(otext)
	if kerr != nil || oerr != nil || !slices.Equal(krows, orows) {
		t.Errorf("tables differ:\nkernel %v %v\nours   %v %v", krows, kerr, orows, oerr)
	}
}

func writeFrom0(fd int, text string) (n int, pos int64, err error) {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return 0, 0, err
	}
	n, err = unix.Write(fd, []byte(text))
	pos, _ = unix.Seek(fd, 0, unix.SEEK_CUR)
	return max(n, 0), pos, err
}

// writeGen makes random texts to write: mostly addresses, many of them damaged.
type writeGen struct{ *rand.Rand }

func (g *writeGen) text() string {
	if g.IntN(40) == 0 {
		return "/" + strings.Repeat("x", g.IntN(80))
	}
	s := g.pick("+", "+", "+", "+", "-", "-") + g.address()
	for range g.IntN(3) * g.IntN(2) {
		s = g.damage(s)
	}
	return s + g.pick("", "", "\n", "\n", "\x00", "\njunk", "\n:", " ", "\r\n", "\x00:")
}

func (g *writeGen) address() string {
	switch g.IntN(5) {
	case 0: // from a few, so that they meet again
		return fmt.Sprintf("10.0.0.%d", g.IntN(8))
	case 1:
		return g.v4()
	case 2:
		var b [16]byte
		for i := range b {
			if g.IntN(2) == 0 {
				b[i] = byte(g.Uint32())
			}
		}
		a := netip.AddrFrom16(b)
		if g.IntN(2) == 0 {
			return a.StringExpanded()
		}
		return a.String()
	}
	return g.v6()
}

func (g *writeGen) v4() string {
	var parts []string
	for range []int{4, 4, 4, 4, 4, 3, 5}[g.IntN(7)] {
		parts = append(parts, fmt.Sprintf(g.pick("%d", "%d", "%03d", "%05d"), g.IntN([]int{256, 10, 300}[g.IntN(3)])))
	}
	return strings.Join(parts, ".")
}

func (g *writeGen) v6() string {
	words := make([]string, g.IntN(9))
	for i := range words {
		words[i] = fmt.Sprintf(g.pick("%x", "%x", "%04X", "%05x"), g.IntN([]int{65536, 256, 16}[g.IntN(3)]))
	}
	if g.IntN(3) > 0 {
		at := g.IntN(len(words) + 1)
		words = append(words[:at:at], append([]string{g.pick("", ":", "::")}, words[at:]...)...)
	}
	s := strings.Join(words, ":")
	if g.IntN(3) == 0 {
		s += g.pick(":", ":", "", "::") + g.v4()
	}
	return s
}

// damage inserts, replaces or removes a character.
func (g *writeGen) damage(s string) string {
	const characters = ":.0123456789abcdefgG \n\x00/x-+%"
	i, c := g.IntN(len(s)+1), string(characters[g.IntN(len(characters))])
	switch {
	case g.IntN(2) == 0 || i == len(s):
		return s[:i] + c + s[i:]
	case g.IntN(2) == 0:
		return s[:i] + c + s[i+1:]
	}
	return s[:i] + s[i+1:]
}

func (g *writeGen) pick(from ...string) string { return from[g.IntN(len(from))] }
