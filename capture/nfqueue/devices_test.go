package nfqueue

import (
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// socketIn opens a socket inside the namespace, or in this one without any.
func socketIn(t *testing.T, ns *lab.Netns) (fd int) {
	t.Helper()
	open := func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}
	do := func(f func() error) error { return f() }
	if ns != nil {
		do = ns.Do
	}
	if err := do(open); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestAskAgain asks the kernel for a name that is too old and has not changed.
func TestAskAgain(t *testing.T) {
	var n deviceNames
	n.begin(socketIn(t, nil))
	n.refresh()
	if name := n.name(1); name != "lo" {
		t.Fatalf("device 1 is %q", name)
	}
	n.fd = -1 // whoever asks the kernel now gets no name
	if name := n.name(1); name != "lo" {
		t.Errorf("later in the same batch, device 1 is %q", name)
	}
	n.now += nameAge
	if name := n.name(1); name != goneDevice {
		t.Errorf("when its name is too old, device 1 is still %q", name)
	}
	n.begin(socketIn(t, nil))
	n.name(1)
	if name := n.name(1 << 30); name != goneDevice {
		t.Errorf("a missing device is %q", name)
	}
	if allocs := testing.AllocsPerRun(100, func() {
		n.now += nameAge
		n.name(1)
	}); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

// TestNamesOfNamespaces passes the names of a batch from a queue to one in another
// namespace, where the same index is another device.
func TestNamesOfNamespaces(t *testing.T) {
	var n deviceNames
	n.refresh()
	for _, name := range []string{"red0", "blue0"} {
		ns := newNamespace(t)
		ns.Sh(t, "ip link add "+name+" index 77 type veth peer name peer0")
		n.begin(socketIn(t, ns))
		if got := n.name(77); got != name {
			t.Errorf("device 77 is %q, want %q", got, name)
		}
	}
}

// TestNamesBound asks for one more name than are kept.
func TestNamesBound(t *testing.T) {
	var n deviceNames
	n.begin(socketIn(t, nil))
	n.known = make(map[uint32]knownName)
	for i := range uint32(maxNames) {
		n.known[1000+i] = knownName{name: "old"}
	}
	if name := n.name(1); name != "lo" || len(n.known) > maxNames {
		t.Errorf("device 1 is %q among %d names, want %d at most", name, len(n.known), maxNames)
	}
	if d, ok := n.known[1]; !ok || d.name != "lo" {
		t.Errorf("the new name is not kept: %+v", n.known)
	}
}
