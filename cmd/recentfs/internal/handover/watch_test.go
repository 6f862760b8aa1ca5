package handover

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// hang has a worker do what its job says: say that it works, or hang in some way.
func (h *Holder) hang(job string) (ticks <-chan time.Time) {
	switch job {
	case "works":
		interval, err := time.ParseDuration(os.Getenv(watchdogTime) + "us")
		h.must(err)
		ticks = time.Tick(interval / 4)
	case "hangs":
		h.must(h.send("STATUS=its work for 5s\nWATCHDOG=trigger"))
	case "is deaf":
		signal.Ignore(syscall.SIGABRT)
	}
	return ticks
}

// worked has a byte for each time that a worker said that it works.
func worked(dir string) []byte {
	text, _ := os.ReadFile(filepath.Join(dir, "worked"))
	return text
}

// soon and never are intervals for the environment.
const (
	soon  = "1000000" // microseconds
	never = "1000000000"
)

// TestKeepHangs has workers that hang. The next one works, and goes on.
func TestKeepHangs(t *testing.T) {
	for _, c := range []struct{ name, job, interval string }{
		{"says nothing", "nothing", soon},
		{"says that it hangs", "hangs", never},
		{"takes no SIGABRT", "is deaf", soon},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(watchdogTime, c.interval)
			k := keepDoing(t, c.job)
			k.await("one")
			k.do("works")
			k.await(fmt.Sprintf("a a of %[1]s, b b of %[1]s", c.job))
			if c.interval == soon {
				k.worksOn()
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			k.end("7 <nil>")
		})
	}
}

// worksOn waits until a worker has said often that it works. It is the last one.
func (k *kept) worksOn() {
	k.Helper()
	lab.Eventually(k, "it says that it works", func() error {
		if n := len(worked(k.dir)); n < 10 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	if err := syscall.Kill(k.pid, 0); err != nil {
		k.Errorf("the worker that works: %v", err)
	}
}

// TestKeepStops has a worker that does not end when it is told to.
func TestKeepStops(t *testing.T) {
	defer func(before time.Duration) { stopTime = before }(stopTime)
	stopTime = 100 * time.Millisecond
	k := keepDoing(t, "stays")
	k.await("one")
	if err := syscall.Kill(os.Getpid(), Leave); err != nil {
		t.Fatal(err)
	}
	k.await("a a of stays, b b of stays")
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	k.end("137 <nil>")
}

// TestKeepIsWatched has who started the keeper watch it too. It hears of the keeper, and
// not of the worker, which hangs.
func TestKeepIsWatched(t *testing.T) {
	path := filepath.Join(lab.TempDir(t), "notify")
	outer, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	t.Setenv(notifySocket, path)
	t.Setenv(watchdogTime, soon)
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	k := keepDoing(t, "hangs")
	k.await("one")
	k.do("works")
	k.await("a a of hangs, b b of hangs")
	k.worksOn()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	k.end("7 <nil>")
	const end = "no more"
	if _, err := outer.WriteTo([]byte(end), outer.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	heard := make(map[string]int)
	for b := make([]byte, 100); heard[end] == 0; {
		n, _, err := outer.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		heard[string(b[:n])]++
	}
	if n := heard["WATCHDOG=1"]; heard["READY=1"] != 2 || n < 2 || n >= 10 || len(heard) != 3 {
		t.Errorf("it heard %v", heard)
	}
}
