package daemon

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// lost is the time after which a packet counts as dropped.
const lost = 20 * time.Millisecond

// visitor is a namespace with a name, in which packets flow.
type visitor struct {
	name     string
	ns       *lab.Netns
	received atomic.Int64 // packets that were let through
}

// newVisitor makes the namespace, in which every UDP packet goes to queue 0.
func newVisitor(t *testing.T, name string) *visitor {
	t.Helper()
	v := &visitor{name: name, ns: lab.MakeNetns(t)}
	t.Cleanup(func() { _ = v.leave() }) // if the test did not get so far
	v.ns.Sh(t, "ip link set lo up; iptables-legacy -w -A INPUT -p udp -j NFQUEUE --queue-num 0")
	if err := v.ns.Name(name); err != nil {
		t.Fatal(err)
	}
	return v
}

// send sends packets to the namespace itself until quit. Each waits until the one
// before has come or is lost. The namespace ends after the last.
func (v *visitor) send(quit <-chan struct{}) error {
	defer v.ns.End()
	var c net.PacketConn
	err := v.ns.Do(func() (err error) { c, err = net.ListenPacket("udp4", "127.0.0.1:0"); return err })
	if err != nil {
		return err
	}
	defer c.Close()
	for buf := make([]byte, 1); ; {
		select {
		case <-quit:
			return nil
		default:
		}
		// An error of either is a packet that is lost.
		c.WriteTo(buf, c.LocalAddr())
		c.SetReadDeadline(time.Now().Add(lost))
		if _, _, err := c.ReadFrom(buf); err == nil {
			v.received.Add(1)
		}
	}
}

// leave takes the name away.
func (v *visitor) leave() error { return lab.Detach(v.name) }

// visitors are namespaces in which packets flow until end.
type visitors struct {
	all []*visitor
	end func()
}

// invite makes namespaces with these names, for the test at the longest.
func invite(t *testing.T, names []string) *visitors {
	t.Helper()
	var vs visitors
	for _, name := range names {
		vs.all = append(vs.all, newVisitor(t, name))
	}
	var senders sync.WaitGroup
	quit := make(chan struct{})
	vs.end = sync.OnceFunc(func() { close(quit); senders.Wait() })
	t.Cleanup(vs.end)
	for _, v := range vs.all {
		senders.Go(func() {
			if err := v.send(quit); err != nil {
				t.Error(err)
			}
		})
	}
	return &vs
}

// await waits until the server has let packets pass in each, and finds them in the
// tables.
func (vs *visitors) await(t *testing.T, s *Server) {
	t.Helper()
	for _, v := range vs.all {
		enough := v.received.Load() + 10
		lab.Eventually(t, "packets pass", func() error {
			if n := v.received.Load(); n < enough {
				return fmt.Errorf("%s: %d packets were let through, want %d", v.name, n, enough)
			}
			return nil
		})
		text, err := inMount(s, "cat", "ns/"+v.name+"/seen")
		if err != nil || !bytes.HasPrefix(text, []byte("src=127.0.0.1 ")) {
			t.Errorf("%s has seen %q, %v", v.name, text, err)
		}
	}
}

// leave takes all names away.
func (vs *visitors) leave(t *testing.T) {
	t.Helper()
	for _, v := range vs.all {
		if err := v.leave(); err != nil {
			t.Fatal(err)
		}
	}
}
