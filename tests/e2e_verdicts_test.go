package tests

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// queueTo is the kernel's rule that queues p in a chain of the server.
func (l *lab) queueTo(f family, table, chain, match string, queue string) {
	l.t.Helper()
	l.server.sh(l.t, fmt.Sprintf("%s-legacy -w -t %s -A %s %s -j NFQUEUE %s", f.tool, table, chain, match, queue))
}

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

// TestMark has the kernel's next hook see the mark that a rule of ours gave.
func TestMark(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := newLab(t)
			l.serve()
			l.queueTo(f, "mangle", "INPUT", tcpProbe.match(f), "--queue-num 0")
			l.server.sh(t, f.tool+"-legacy -w -A INPUT -m mark --mark 0x17 -j ACCEPT")
			startDaemon(t, l.server, `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -j MARK --set-xmark 0x17/0xffffffff
COMMIT
`)
			l.passes(tcpProbe, f)
			if n := packets(t, l.server.sh(t, f.tool+"-legacy-save -c"), "--mark 0x17 -j ACCEPT"); n != 1 {
				t.Errorf("the kernel's rule saw %d packets with our mark, want 1", n)
			}
		})
	}
}

// TestRepeat sends a packet through the kernel's chain a second time, where
// its mark keeps it from the queue.
func TestRepeat(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := newLab(t)
			l.serve()
			l.queueTo(f, "filter", "INPUT", tcpProbe.match(f)+" -m mark --mark 0x0", "--queue-num 0")
			l.server.sh(t, f.tool+"-legacy -w -A INPUT -m mark --mark 0x2 -j DROP")
			d := startDaemon(t, l.server, `*recent
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
			l.passes(tcpProbe, f)
			l.dropped(tcpProbe, f)
			if got := l.server.queues(t)[0]; got != 2 {
				t.Errorf("%d packets came by the queue, want each of 2 just once", got)
			}
			if n := packets(t, l.server.sh(t, f.tool+"-legacy-save -c"), "--mark 0x2 -j DROP"); n != 1 {
				t.Errorf("the kernel's next rule dropped %d packets, want 1", n)
			}
			if got := d.only("SEEN"); len(got.stamps) != 1 {
				t.Errorf("SEEN: %+v, want one stamp", got)
			}
		})
	}
}

// TestHandOver has one queue's chain give a packet to another queue.
func TestHandOver(t *testing.T) {
	l := newLab(t)
	l.serve()
	l.queueTo(ipv4, "filter", "INPUT", tcpProbe.match(ipv4), "--queue-num 3")
	d := startDaemon(t, l.server, `*recent
:QUEUE3 ACCEPT [0:0]
:QUEUE5 DROP [0:0]
-A QUEUE3 -m recent --set --name FIRST --rsource -j NFQUEUE --queue-num 5
-A QUEUE5 -m recent ! --rcheck --hitcount 2 --name FIRST --rsource -m recent --set --name SECOND --rsource -j ACCEPT
COMMIT
`)
	l.passes(tcpProbe, ipv4)
	l.dropped(tcpProbe, ipv4)
	if first, second := d.only("FIRST"), d.only("SECOND"); len(first.stamps) != 2 || len(second.stamps) != 1 {
		t.Errorf("FIRST %+v and SECOND %+v, want 2 and 1 stamps", first, second)
	}
	if q := l.server.queues(t); q[3] != 2 || q[5] != 2 {
		t.Errorf("packets by queue: %v, want 2 by each of 3 and 5", q)
	}
}

// TestBalance spreads flows over two queues with one chain and one table.
func TestBalance(t *testing.T) {
	l := newLab(t)
	l.serve()
	// Any address of the block is the client's own; the server knows the way.
	l.client.sh(t, "ip route add local 10.10.0.0/24 dev lo")
	l.server.sh(t, fmt.Sprintf("ip route add 10.10.0.0/24 via %v", ipv4.client))
	l.queueTo(ipv4, "filter", "INPUT", udpProbe.match(ipv4), "--queue-balance 0:1")
	d := startDaemon(t, l.server, `*recent
:QUEUE0-1 DROP [0:0]
-A QUEUE0-1 -m recent --set --name ALL --rsource -j ACCEPT
COMMIT
`)
	const clients = 64
	for i := range clients {
		from := netip.AddrFrom4([4]byte{10, 10, 0, byte(i)})
		if err := l.echo(ipv4, from, 5*time.Second); err != nil {
			t.Fatalf("datagram from %v: %v", from, err)
		}
	}
	if got := d.read("ALL"); len(got) != clients {
		t.Errorf("ALL has %d entries, want %d", len(got), clients)
	}
	if q := l.server.queues(t); q[0] == 0 || q[1] == 0 || q[0]+q[1] != clients {
		t.Errorf("packets by queue: %v, want all %d, some by each of 0 and 1", q, clients)
	}
	if n := packets(t, d.must("rules"), "--name ALL"); n != clients {
		t.Errorf("recentfs rules counts %d packets, want %d", n, clients)
	}
}

// TestPortKnocking opens a port for who knocks at two others in order.
func TestPortKnocking(t *testing.T) {
	l := newLab(t)
	l.serve()
	l.queueTo(ipv4, "filter", "INPUT", "-p tcp --syn", "--queue-num 0")
	startDaemon(t, l.server, `*recent
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
		if l.dial(ipv4, "tcp", port, silence) == nil {
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
			l.passes(tcpProbe, ipv4)
		} else {
			l.dropped(tcpProbe, ipv4)
		}
	}
}
