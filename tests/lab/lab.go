// Package lab is what tests share: network namespaces, the program running in
// one of them, packets on their way to it, and waiting for a condition.
//
// A test with a namespace, a daemon and a packet reads like this:
//
//	func TestMain(m *testing.M) { lab.Main(m) } // in mounts of its own
//
//	func TestDrop(t *testing.T) {
//		l := lab.NewNetwork(t) // two namespaces and a cable: l.Client, l.Server
//		l.Serve()              // port 22 answers over TCP and UDP
//		l.QueueTo(lab.IPv4, "filter", "INPUT", lab.TCPProbe.Match(lab.IPv4), "--queue-num 0")
//		d := lab.StartDaemon(t, l.Server, "*recent\n:QUEUE0 ACCEPT [0:0]\n"+
//			"-A QUEUE0 -m recent --rcheck --name BAD -j DROP\nCOMMIT\n")
//		l.Passes(lab.TCPProbe, lab.IPv4)
//		d.Sh("echo +10.9.0.2 > BAD") // in the mount point
//		l.Dropped(lab.TCPProbe, lab.IPv4)
//	}
//
// NewNetns makes a single namespace; Do, Run, Sh and Start work in it.
// Eventually waits for what happens a little later. Everything ends with its
// test, whether that passes or fails: a namespace lives on an OS thread of the
// test, and the kernel kills a process of the namespace when that thread ends.
//
// The package imports nothing of recentfs, so that every package's own tests
// can import it.
package lab

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Main runs a package's tests and exits. The tests run in a mount namespace of
// their own, where /run is empty: names of namespaces (/run/netns), mounts and
// covers of /proc/net are not seen by the tests of other packages, which run at
// the same time, and they end with the tests.
func Main(m *testing.M) {
	if status, ran := isolate(); ran {
		os.Exit(status)
	}
	// The race detector would make every process sleep for a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	status := m.Run()
	removeProgram()
	os.Exit(status)
}

// Patience is how long a test waits for what should happen at once. Only a
// failure uses it up.
const Patience = 20 * time.Second

// Eventually waits until check returns nil. After Patience it fails the test
// with check's last error.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	if err := Await(check); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Await is Eventually for a goroutine that may not end the test: it returns
// check's last error.
func Await(check func() error) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Patience); ; <-tick.C {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not after %v: %w", Patience, err)
		}
	}
}

// NeedRoot skips a test that only root can run.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make namespaces, mounts and queues: run make test as root")
	}
}

// TempDir makes a directory that ends with the test and that other users may
// enter, as t.TempDir's they may not. Mounts in it are left alone: the test
// unmounts them first.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "recentfs-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Soak is how often a test does something: n times, or as often as 'make soak' asks for.
func Soak(n, soaking int) int {
	if os.Getenv("RECENTFS_SOAK") != "" {
		return soaking
	}
	return n
}

// Descriptors counts the open descriptors of this process.
func Descriptors(t testing.TB) int {
	t.Helper()
	return descriptors(t, "self")
}

func descriptors(t testing.TB, process string) int {
	t.Helper()
	files, err := os.ReadDir("/proc/" + process + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
