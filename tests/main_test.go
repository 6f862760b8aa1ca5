// Package tests holds what needs the whole program, or root: the vectors, the
// rules of the house, the command line, and real packets in network
// namespaces of the test's own.
//
// A lab is two namespaces joined by a veth pair; a daemon is the program
// running in one of them. Both end with their test whatever happens: a
// namespace lives on an OS thread, and what was started there dies with it.
package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"recentfs/tests/isolated"
)

// The main thread belongs to the main goroutine, so that it never becomes a
// namespace's: it is the one thread that cannot end before the process.
func init() { runtime.LockOSThread() }

// binDir holds the program under test; it is removed when all tests are done.
var binDir string

func TestMain(m *testing.M) {
	if status, ran := isolated.Run(); ran {
		os.Exit(status)
	}
	var err error
	if binDir, err = os.MkdirTemp("", "recentfs-bin-"); err == nil {
		// Tests run the program as other users too.
		err = os.Chmod(binDir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// A process under the race detector would sleep for a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	code := m.Run()
	os.RemoveAll(binDir)
	os.Exit(code)
}

// build makes the program once, with the race detector in it.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binDir, "recentfs")
	cmd := exec.Command("go", "build", "-race", "-buildvcs=false",
		"-ldflags", "-X main.version=v0.0-test", "-o", path, "recentfs/cmd/recentfs")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return path, nil
})

// binary is the path of the program under test.
func binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// patience is how long a test waits for what ought to happen at once; it is
// only ever used up by a failure.
const patience = 20 * time.Second

// eventually waits until check returns nil, and fails with its last error.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
