package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// relay is a network whose server's queues go from process to process, and what passes
// through them.
type relay struct {
	*testing.T
	*lab.Network
	dir    string
	queues []*Queue // of this process, which never runs them
	files  []*os.File
	found  int // packets that processes found received

	allowed, arrived atomic.Uint64 // packets that may be sent, and that have arrived
	twice            atomic.Uint64
	more             chan struct{} // tells the sender that one of the two has changed
}

func startRelay(t *testing.T) *relay {
	r := &relay{T: t, Network: newNetwork(t), dir: "/run/tables", more: make(chan struct{}, 1)}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(r.dir) })
	r.Server.Sh(t, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 && ip route add 10.64.0.0/10 via 10.9.0.2")
	for _, number := range killedQueues {
		err := r.Server.Do(func() error {
			q, err := OpenKept(number, Options{}, ruleNotes)
			if err == nil {
				r.queues = append(r.queues, q)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		q := r.queues[len(r.queues)-1]
		t.Cleanup(func() { q.Close() })
		h := hold(t, q)
		socket, memory := os.NewFile(uintptr(h.socket), "socket"), os.NewFile(uintptr(h.memory), "memory")
		t.Cleanup(func() { socket.Close(); memory.Close() })
		r.files = append(r.files, socket, memory)
	}
	r.Server.Sh(t, "iptables-legacy -t mangle -A INPUT -p udp -m mark ! --mark 1/1 -j NFQUEUE --queue-balance 3:4")
	r.receive(9998)
	r.receive(9999)
	r.send()
	return r
}

// count adds to what the sender looks at.
func (r *relay) count(what *atomic.Uint64, n uint64) {
	what.Add(n)
	select {
	case r.more <- struct{}{}:
	default: // it is told already
	}
}

// receive counts the packets that arrive at a port. Each has a number.
func (r *relay) receive(port int) {
	c := listenIn(r.T, r.Server, fmt.Sprintf("10.9.0.1:%d", port))
	if err := errors.Join(c.SetDeadline(time.Time{}), c.(*net.UDPConn).SetReadBuffer(4<<20)); err != nil {
		r.Fatal(err)
	}
	var before [1 << 15]uint64 // a bit for each number
	go func() {
		var b [16]byte
		for {
			n, _, err := c.ReadFrom(b[:])
			if err != nil {
				return
			}
			number := binary.BigEndian.Uint32(b[:n])
			bit := &before[number/64%uint32(len(before))]
			if *bit>>(number%64)&1 != 0 {
				r.twice.Add(1)
			}
			*bit |= 1 << (number % 64)
			r.count(&r.arrived, 1)
		}
	}()
}

// send sends packets, as many as are allowed, and some more than have arrived.
func (r *relay) send() {
	const ahead = 200
	var fd int
	err := r.Client.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	r.Cleanup(func() {
		close(stop)
		if err := <-stopped; err != nil {
			r.Errorf("send: %v", err)
		}
		unix.Close(fd)
	})
	go func() {
		to := &unix.SockaddrInet4{Addr: r.serverAddress()}
		for sent := uint64(0); ; {
			if sent == r.allowed.Load() || sent >= r.arrived.Load()+ahead {
				select {
				case <-stop:
					stopped <- nil
					return
				case <-r.more:
				}
				continue
			}
			if err := unix.Sendto(fd, numberedPacket(uint32(sent), to.Addr), 0, to); err != nil {
				stopped <- err
				<-stop
				return
			}
			sent++
		}
	}()
}

func (r *relay) serverAddress() [4]byte { return lab.IPv4.Server.As4() }

// numberedPacket is a datagram from an address of its own, 10.64.0.0 and up.
func numberedPacket(number uint32, to [4]byte) []byte {
	b := make([]byte, 32)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP // the kernel fills in the rest of the header
	binary.BigEndian.PutUint32(b[12:], 10<<24|64<<16+number)
	copy(b[16:], to[:])
	binary.BigEndian.PutUint16(b[20:], 1234)
	binary.BigEndian.PutUint16(b[22:], 9998+uint16(number%2))
	binary.BigEndian.PutUint16(b[24:], 12)
	binary.BigEndian.PutUint32(b[28:], number)
	return b
}

// await waits until so many packets have arrived.
func (r *relay) await(packets uint64) {
	r.Helper()
	lab.Eventually(r.T, "the packets arrive", func() error {
		if n := r.arrived.Load(); n < packets {
			return fmt.Errorf("%d of %d have arrived", n, packets)
		}
		return nil
	})
}

// process is one that serves the queues.
type process struct {
	*relay
	cmd   *exec.Cmd
	stdin interface{ Close() error }
}

// start starts the next process. It returns when that is at work.
func (r *relay) start(how string) *process {
	r.Helper()
	p := &process{relay: r, cmd: exec.Command("/proc/self/exe", r.dir)}
	p.cmd.Env = append(os.Environ(), killedEnv+"="+how)
	p.cmd.Stderr = os.Stderr
	p.cmd.ExtraFiles = r.files
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	p.stdin = stdin
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := r.Server.Start(p.cmd); err != nil {
		r.Fatal(err)
	}
	var received int
	if _, err := fmt.Fscan(out, &received); err != nil {
		r.Fatalf("the process has not begun: %v", err)
	}
	r.found += received
	return p
}

// kill kills it.
func (p *process) kill() {
	p.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.Fatal(err)
	}
	p.wait()
}

// wait waits until it is killed.
func (p *process) wait() {
	p.Helper()
	_ = p.cmd.Wait()
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		p.Fatalf("the process has ended: %v", p.cmd.ProcessState)
	}
}

// leave has it leave.
func (p *process) leave() {
	p.Helper()
	if err := p.stdin.Close(); err != nil {
		p.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.Fatalf("the process has ended: %v", err)
	}
}

// check looks at the tables, and at what the kernel has dropped.
func (r *relay) check() {
	r.Helper()
	tables, err := openTables(r.dir)
	if err != nil {
		r.Fatal(err)
	}
	defer func() {
		tables.Leave()
		tables.set.Close()
	}()
	sent := r.allowed.Load()
	if n := r.arrived.Load(); n != sent || r.twice.Load() > 0 {
		r.Errorf("%d packets have arrived of %d, and %d of them twice", n, sent, r.twice.Load())
	}
	for _, want := range []struct {
		table     string
		addresses uint64
		stamps    int
	}{{"A", sent, 2}, {"B", 0, 0}, {"C", sent, 1}, {"NONE", 0, 0}} {
		addresses, wrong := uint64(0), 0
		for line := range strings.Lines(readAll(r.T, tables.Table(want.table))) {
			addresses++
			if strings.Count(line, ", ") != want.stamps-1 {
				if wrong++; wrong == 1 {
					r.Errorf("table %s: %s", want.table, line)
				}
			}
		}
		if addresses != want.addresses || wrong > 0 {
			r.Errorf("table %s has %d addresses, %d with other than %d stamps; want %d", want.table, addresses, wrong, want.stamps, want.addresses)
		}
	}
	for _, q := range r.queues {
		if k, ok := q.queues.find(q.number); !ok || k.full+k.lost+k.waiting > 0 {
			r.Errorf("queue %d: the kernel says %+v", q.number, k)
		}
	}
}

func readAll(t *testing.T, table *recent.Table) string {
	t.Helper()
	var all []byte
	c := table.Cursor()
	for b := make([]byte, 1<<16); ; {
		n, err := c.ReadAt(b, int64(len(all)))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return string(all)
		}
		all = append(all, b[:n]...)
	}
}
