package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"

	"recentfs/tests/lab"
)

var saveCount = regexp.MustCompile(`^\[(\d+):\d+\]`)

// packets is the packet counter of the first line of an iptables-save -c text
// that contains part.
func packets(t testing.TB, text, part string) int {
	t.Helper()
	line := regexp.MustCompile(`(?m)^.*` + regexp.QuoteMeta(part) + `.*$`).FindString(text)
	m := saveCount.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("no counted rule with %q in:\n%s", part, text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestMark: the kernel's next hook sees the mark that a rule of ours set.
func TestMark(t *testing.T) {
	for _, f := range lab.Families {
		t.Run(f.Name, func(t *testing.T) {
			l := lab.NewNetwork(t)
			l.Serve()
			l.QueueTo(f, "mangle", "INPUT", lab.TCPProbe.Match(f), "--queue-num 0")
			l.Server.Sh(t, f.Tool+"-legacy -w -A INPUT -m mark --mark 0x17 -j ACCEPT")
			lab.StartDaemon(t, l.Server, `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -j MARK --set-xmark 0x17/0xffffffff
COMMIT
`)
			l.Passes(lab.TCPProbe, f)
			if n := packets(t, l.Server.Sh(t, f.Tool+"-legacy-save -c"), "--mark 0x17 -j ACCEPT"); n != 1 {
				t.Errorf("the kernel's rule saw %d packets with our mark, want 1", n)
			}
		})
	}
}

// TestRepeat sends a packet through the kernel's chain a second time, where
// its mark keeps it from the queue.
func TestRepeat(t *testing.T) {
	for _, f := range lab.Families {
		t.Run(f.Name, func(t *testing.T) {
			l := lab.NewNetwork(t)
			l.Serve()
			l.QueueTo(f, "filter", "INPUT", lab.TCPProbe.Match(f)+" -m mark --mark 0x0", "--queue-num 0")
			l.Server.Sh(t, f.Tool+"-legacy -w -A INPUT -m mark --mark 0x2 -j DROP")
			d := lab.StartDaemon(t, l.Server, `*recent
:QUEUE0 ACCEPT [0:0]
:SEEN - [0:0]
-A QUEUE0 -m recent --rcheck --seconds 60 --name SEEN --rsource -g SEEN
-A QUEUE0 -m recent --set --name SEEN --rsource
-A QUEUE0 -j MARK --set-xmark 0x1/0x1
-A QUEUE0 -j REPEAT
-A SEEN -j MARK --set-xmark 0x2/0x2
-A SEEN -j REPEAT
COMMIT
`)
			l.Passes(lab.TCPProbe, f)
			l.Dropped(lab.TCPProbe, f)
			if got := l.Server.Queues(t)[0]; got != 2 {
				t.Errorf("%d packets came to the queue, want 2: each packet once", got)
			}
			if n := packets(t, l.Server.Sh(t, f.Tool+"-legacy-save -c"), "--mark 0x2 -j DROP"); n != 1 {
				t.Errorf("the kernel's next rule dropped %d packets, want 1", n)
			}
			if got := d.Only("SEEN"); len(got.Stamps) != 1 {
				t.Errorf("SEEN: %+v, want one stamp", got)
			}
		})
	}
}

// TestHandOver moves packets from one queue's chain to another queue.
func TestHandOver(t *testing.T) {
	l := lab.NewNetwork(t)
	l.Serve()
	l.QueueTo(lab.IPv4, "filter", "INPUT", lab.TCPProbe.Match(lab.IPv4), "--queue-num 3")
	d := lab.StartDaemon(t, l.Server, `*recent
:QUEUE3 ACCEPT [0:0]
:QUEUE5 DROP [0:0]
-A QUEUE3 -m recent --set --name FIRST --rsource -j NFQUEUE --queue-num 5
-A QUEUE5 -m recent ! --rcheck --hitcount 2 --name FIRST --rsource -m recent --set --name SECOND --rsource -j ACCEPT
COMMIT
`)
	l.Passes(lab.TCPProbe, lab.IPv4)
	l.Dropped(lab.TCPProbe, lab.IPv4)
	if first, second := d.Only("FIRST"), d.Only("SECOND"); len(first.Stamps) != 2 || len(second.Stamps) != 1 {
		t.Errorf("FIRST %+v and SECOND %+v, want 2 and 1 stamps", first, second)
	}
	if q := l.Server.Queues(t); q[3] != 2 || q[5] != 2 {
		t.Errorf("packets by queue: %v, want 2 in each of 3 and 5", q)
	}
}

// TestHandOverToNobody moves packets to a queue that no program has bound: the
// kernel drops them there, or lets them go on with --queue-bypass.
func TestHandOverToNobody(t *testing.T) {
	l := lab.NewNetwork(t)
	l.Serve()
	l.QueueTo(lab.IPv4, "filter", "INPUT", lab.TCPProbe.Match(lab.IPv4), "--queue-num 3")
	d := lab.StartDaemon(t, l.Server, `*recent
:QUEUE3 DROP [0:0]
-A QUEUE3 -m recent ! --rcheck --name FIRST --rsource -m recent --set --name FIRST --rsource -j NFQUEUE --queue-num 9 --queue-bypass
-A QUEUE3 -j NFQUEUE --queue-num 9
COMMIT
`)
	l.Passes(lab.TCPProbe, lab.IPv4)
	l.Dropped(lab.TCPProbe, lab.IPv4)
	if first := d.Only("FIRST"); len(first.Stamps) != 1 {
		t.Errorf("FIRST %+v, want 1 stamp", first)
	}
}

// TestBalance spreads flows over two queues with one chain and one table.
func TestBalance(t *testing.T) {
	l := lab.NewNetwork(t)
	l.Serve()
	// Every address of the block is the client's own, and the server routes to it.
	l.Client.Sh(t, "ip route add local 10.10.0.0/24 dev lo")
	l.Server.Sh(t, fmt.Sprintf("ip route add 10.10.0.0/24 via %v", lab.IPv4.Client))
	l.QueueTo(lab.IPv4, "filter", "INPUT", lab.UDPProbe.Match(lab.IPv4), "--queue-balance 0:1")
	d := lab.StartDaemon(t, l.Server, `*recent
:QUEUE0-1 DROP [0:0]
-A QUEUE0-1 -m recent --set --name ALL --rsource -j ACCEPT
COMMIT
`)
	const clients = 64
	for i := range clients {
		from := netip.AddrFrom4([4]byte{10, 10, 0, byte(i)})
		if err := l.Echo(lab.IPv4, from, 5*time.Second); err != nil {
			t.Fatalf("datagram from %v: %v", from, err)
		}
	}
	if got := d.Read("ALL"); len(got) != clients {
		t.Errorf("ALL has %d entries, want %d", len(got), clients)
	}
	if q := l.Server.Queues(t); q[0] == 0 || q[1] == 0 || q[0]+q[1] != clients {
		t.Errorf("packets by queue: %v, want %d in all, and some in each of 0 and 1", q, clients)
	}
	if n := packets(t, d.Must("rules"), "--name ALL"); n != clients {
		t.Errorf("recentfs rules counts %d packets, want %d", n, clients)
	}
}

// TestPortKnocking opens a port for a client that knocks at two others in order.
func TestPortKnocking(t *testing.T) {
	l := lab.NewNetwork(t)
	l.Serve()
	l.QueueTo(lab.IPv4, "filter", "INPUT", "-p tcp --syn", "--queue-num 0")
	lab.StartDaemon(t, l.Server, `*recent
:QUEUE0 DROP [0:0]
:KNOCK - [0:0]
-A QUEUE0 -p tcp -m tcp --dport 22 -m recent --rcheck --seconds 30 --name OPEN --rsource -j ACCEPT
-A QUEUE0 -p tcp -m tcp --dport 7001 -m recent --set --name KNOCKED --rsource -j DROP
-A QUEUE0 -m recent --rcheck --seconds 10 --name KNOCKED --rsource -g KNOCK
-A KNOCK -m recent --remove --name KNOCKED --rsource
-A KNOCK -p tcp -m tcp --dport 7002 -m recent --set --name OPEN --rsource
COMMIT
`)
	knock := func(port uint16) {
		t.Helper()
		if l.Dial(lab.IPv4, "tcp", port, lab.Silence) == nil {
			t.Fatalf("port %d was answered", port)
		}
	}
	for _, step := range []struct {
		name   string
		knocks []uint16
		open   bool
	}{
		{"closed at first", nil, false},
		{"the second door alone", []uint16{7002}, false},
		{"the wrong order", []uint16{7002, 7001}, false},
		{"a wrong door between", []uint16{7001, 7003, 7002}, false},
		{"the right order", []uint16{7001, 7002}, true},
	} {
		t.Log(step.name)
		for _, port := range step.knocks {
			knock(port)
		}
		if step.open {
			l.Passes(lab.TCPProbe, lab.IPv4)
		} else {
			l.Dropped(lab.TCPProbe, lab.IPv4)
		}
	}
}
