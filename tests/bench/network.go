package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// The two ends of the cable. Packets to 10.9.N.1 wait in the server's queue N.
// What a verdict lets pass ends in the filter table, unless it is a ping: so
// what the kernel does behind the queue is little, and the same for all.
const (
	clientAddress = "10.9.0.2/16"
	serverRules   = `
		sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
		iptables-legacy -w -A INPUT -p udp -j DROP`
	device = "eth0"
)

// queueNumbers are all queues that packets are sent to.
var queueNumbers = []int{queueSSH, queueAccepting, queueC, queueStock, queuePing, queueSingle, queueDelay}

// The queues. queuePair is the first of two that share the packets sent to it.
const (
	queueSSH       = iota // ours: the ssh rules
	queueAccepting        // ours: the ssh rules, with ACCEPT in the place of DROP
	queueC
	queueStock
	queuePing   // ours, for pings
	queueSingle // ours, on any processor
	queueDelay  // ours, with a million addresses
	queuePair
)

func serverAddress(queue int) net.IP { return net.IPv4(10, 9, byte(queue), 1).To4() }

// thread is a thread of the operating system with a network namespace and
// processors of its own; what is started on it inherits them and dies with it.
type thread struct {
	calls chan func()
	path  string // of its namespace, for ip(8)
}

// newThread makes a thread on the processors given. enter brings it into its
// network namespace.
func newThread(processors []int, enter func() error) (*thread, error) {
	t := &thread{calls: make(chan func())}
	made := make(chan error)
	go func() {
		// Never unlocked: the thread ends with this goroutine.
		runtime.LockOSThread()
		var set unix.CPUSet
		for _, p := range processors {
			set.Set(p)
		}
		t.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- errors.Join(unix.SchedSetaffinity(0, &set), enter())
		for call := range t.calls {
			call()
		}
	}()
	if err := <-made; err != nil {
		close(t.calls)
		return nil, fmt.Errorf("a thread in a network namespace: %w", err)
	}
	return t, nil
}

// do calls f on the thread.
func (t *thread) do(f func() error) (err error) {
	done := make(chan struct{})
	t.calls <- func() {
		defer close(done)
		err = f()
	}
	<-done
	return err
}

func (t *thread) start(cmd *exec.Cmd) error { return t.do(cmd.Start) }

// network makes the two namespaces and the cable between them.
func (b *bench) network() (err error) {
	defer func() {
		if err != nil {
			b.closeNetwork()
		}
	}()
	all, err := processors()
	if err != nil {
		return err
	}
	first, others := all[:1], all[min(1, len(all)-1):]
	unshare := func() error { return unix.Unshare(unix.CLONE_NEWNET) }
	if b.client, err = newThread(first, unshare); err != nil {
		return err
	}
	if b.server, err = newThread(others, unshare); err != nil {
		return err
	}
	join := func() error {
		ns, err := os.Open(b.server.path)
		if err != nil {
			return err
		}
		defer ns.Close()
		return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
	}
	if b.free, err = newThread(all, join); err != nil {
		return err
	}
	var server strings.Builder
	fmt.Fprintf(&server, "ip link add %s type veth peer name %[1]s netns %s\n", device, b.client.path)
	fmt.Fprintf(&server, "ip link set %s addrgenmode none up\n", device)
	queue := func(chain int, target string) {
		fmt.Fprintf(&server, "ip addr add %v/16 dev %s\n", serverAddress(chain), device)
		fmt.Fprintf(&server, "iptables-legacy -w -t mangle -A INPUT -d %v -j NFQUEUE %s\n", serverAddress(chain), target)
	}
	for _, q := range queueNumbers {
		queue(q, fmt.Sprintf("--queue-num %d", q))
	}
	queue(queuePair, fmt.Sprintf("--queue-balance %d:%d", queuePair, queuePair+1))
	server.WriteString(serverRules)
	if err := b.shell(b.server, server.String()); err != nil {
		return err
	}
	return b.shell(b.client, fmt.Sprintf("ip link set %s addrgenmode none up; ip addr add %s dev %[1]s", device, clientAddress))
}

// closeNetwork ends the threads, and with them the namespaces and processes.
func (b *bench) closeNetwork() {
	for _, t := range []*thread{b.client, b.server, b.free} {
		if t != nil {
			close(t.calls)
		}
	}
}

func (b *bench) shell(t *thread, script string) error {
	_, err := t.output(command(b.ctx, "sh", "-euc", script))
	return err
}

// processors are those that this process may run on.
func processors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	var all []int
	for i := 0; len(all) < set.Count(); i++ {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all, nil
}

// counters are those of the kernel's list of queues.
type counters struct {
	waiting, lost, received uint64
}

// decided is the number of packets whose verdict has arrived.
func (c counters) decided() uint64 { return c.received - c.waiting - c.lost }

// counters are the sums over so many of the server's queues from first on:
// seq_show of net/netfilter/nfnetlink_queue.c.
func (b *bench) counters(first, queues int) (sum counters, err error) {
	found := 0
	err = b.server.do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			var number, portid, mode, length, full int
			var c counters
			if _, err := fmt.Sscan(line, &number, &portid, &c.waiting, &mode, &length, &full, &c.lost, &c.received); err != nil {
				return fmt.Errorf("nfnetlink_queue: %q: %w", line, err)
			}
			if number < first || number >= first+queues {
				continue
			}
			found++
			sum.waiting += c.waiting
			sum.lost += c.lost
			sum.received += c.received
		}
		return nil
	})
	if err == nil && found != queues {
		err = fmt.Errorf("queue %d: nobody serves it any more", first)
	}
	return sum, err
}
