package live

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// TestLiveLarge sends TCP segments that are larger than the device's MTU and, over
// IPv6, larger than the header's length field. -m length sees the same of them in
// the kernel and here.
func TestLiveLarge(t *testing.T) {
	needKernel(t)
	const (
		port  = 7778
		match = "-p tcp -m tcp --sport 7778 -m length "
	)
	l := lab.NewNetwork(t)
	for _, ns := range []*lab.Netns{l.Server, l.Client} {
		ns.Sh(t, `ip link set eth0 gso_max_size 200000 gro_max_size 200000
			sysctl -qw net.ipv4.tcp_wmem="4096 4194304 8388608" net.ipv4.tcp_rmem="4096 4194304 8388608"`)
	}
	d := lab.StartDaemon(t, l.Server, fmt.Sprintf(feed, ""))
	for _, c := range []struct {
		family lab.Family
		large  string // a length that only a large segment has
	}{{lab.IPv4, "--length 1501:"}, {lab.IPv6, "! --length :"}} {
		t.Run(c.family.Name, func(t *testing.T) {
			f := c.family
			rules := func(chain string) (text string) {
				for _, m := range []string{c.large, "--length 1501:", "! --length 1501:", "--length 40:72", "--length 0", "--length :"} {
					text += fmt.Sprintf("-A %s %s%s\n", chain, match, m)
				}
				return text
			}
			l.Server.Sh(t, fmt.Sprintf("%s-legacy-restore -w <<'END'\n*mangle\n:LIVE - [0:0]\n-A OUTPUT -p tcp --sport %d -j LIVE\n%s-A LIVE -j NFQUEUE --queue-num 0\nCOMMIT\nEND\n",
				f.Tool, port, rules("LIVE")))
			d.SetRules("*recent\n:QUEUE0 ACCEPT [0:0]\n" + rules("QUEUE0") + "COMMIT\n")
			d.Ask("reload")
			if err := download(l, f, port); err != nil {
				t.Fatal(err)
			}
			lab.Eventually(t, "both count the same", func() error {
				kernel := ruleCounts(l.Server.Sh(t, f.Tool+"-legacy-save -c -t mangle | grep -v NFQUEUE"), "LIVE")
				ours := ruleCounts(d.Ask("rules"), "QUEUE0")
				if len(kernel) == 0 || !slices.Equal(kernel, ours) {
					return fmt.Errorf("the kernel's rules count %v, ours %v", kernel, ours)
				}
				if kernel[0] == "[0:0]" {
					return fmt.Errorf("no segment met %s: nothing was compared", c.large)
				}
				return nil
			})
		})
	}
}

// download lets the client read some megabytes from a port of the server.
func download(l *lab.Network, f lab.Family, port uint16) error {
	const size = 8 << 20
	at := netip.AddrPortFrom(f.Server, port).String()
	var there net.Listener
	err := l.Server.Do(func() (err error) {
		there, err = net.Listen("tcp", at)
		return err
	})
	if err != nil {
		return err
	}
	defer there.Close()
	go func() {
		if c, err := there.Accept(); err == nil {
			c.Write(make([]byte, size))
			c.Close()
		}
	}()
	var c net.Conn
	err = l.Client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", at, lab.Patience)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(lab.Patience))
	n, err := io.Copy(io.Discard, c)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came, want %d", n, size)
	}
	return err
}
