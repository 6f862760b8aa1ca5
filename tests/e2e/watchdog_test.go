package e2e

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// hangs are the ways in which a test has a daemon hang.
var hangs = []struct {
	name  string
	waits func(thread string) bool // in the loops; nil: all of it is stopped
	loops int
	says  string // what the watchdog says of it
}{
	{"stopped", nil, 0, ""},
	{"queue", lab.ForPackets, 1, "queue 0: packets wait, and its loop does not take them for "},
	{"files", lab.ForRequests, 2, ": requests wait, and the loop does not take them for "},
}

// TestKeepWatchdog has a daemon hang that --keep keeps running, under packets, writes and
// reads. It is ended and started again, and nothing is lost.
func TestKeepWatchdog(t *testing.T) {
	d, start := keeper(t, outliveRules)
	d.Prepare = func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "WATCHDOG_USEC=2000000") }
	start("-o", "ip_list_tot=4000000", "--keep")
	l := startLoad(t, d)
	for n, h := range hangs {
		l.goOn()
		worker := lab.Child(t, d.Process())
		began := time.Now()
		if h.waits == nil {
			if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		} else {
			lab.Hang(t, worker, h.loops, h.waits)
		}
		awaitReady(d, n+2)
		l.goOn()
		t.Logf("%s: it took %v", h.name, time.Since(began))
		if said := d.Output.String(); !strings.Contains(said, "goroutine ") {
			t.Errorf("%s: it says\n%s", h.name, said)
		}
	}
	l.end()
	d.Stop()
}

// TestSystemdWatchdog has the service of a real systemd hang, under packets and with
// open files. It is ended and started again, and nothing is lost.
func TestSystemdWatchdog(t *testing.T) {
	s := newService(t)
	s.Write("/etc/recentfs/rules", "*recent\n:QUEUE0 DROP [0:0]\n-A QUEUE0 -m recent --name T --set -j ACCEPT\nCOMMIT\n", 0o644)
	s.Sh("systemctl start recentfs")
	if got := s.Sh("systemctl show -P WatchdogUSec -P TimeoutAbortUSec recentfs"); got != "1s\n10s\n" {
		t.Errorf("the service has %q", got)
	}
	s.Write("/etc/systemd/system/recentfs.service.d/soon.conf", "[Service]\nWatchdogSec=2\n", 0o644)
	s.Sh(`
		systemctl daemon-reload
		systemctl restart recentfs
		iptables-legacy -t mangle -A INPUT -p icmp --icmp-type echo-request -j NFQUEUE --queue-num 0 --queue-bypass
		ping -i 0.05 -c 1000000 127.0.0.1 > /run/ping 2>&1 & echo $! > /run/ping.pid
		sh -c 'cd /run/recentfs/xt_recent; exec 3< T 4> T; while [ -e /run/go ] || sleep 0.01; do
			echo / >&4; read -r line <&3 || :; echo done > /run/did; rm -f /run/go; done' > /run/files 2>&1 &`)
	for _, h := range hangs {
		t.Run(h.name, func(t *testing.T) {
			before := strings.TrimSpace(s.Sh("systemctl show -P MainPID recentfs"))
			start := time.Now()
			if h.waits == nil {
				s.Sh("kill -STOP " + before)
			} else {
				lab.Hang(t, s.Outside(before), h.loops, h.waits)
			}
			s.Sh(`
				rm -f /run/did; touch /run/go
				ping -q -c 1 -W 20 127.0.0.1
				echo +192.0.2.2 > /run/recentfs/xt_recent/T
				timeout 20 sh -c 'until [ -e /run/did ]; do :; done' `)
			t.Logf("it took %v", time.Since(start))
			if now := strings.TrimSpace(s.Sh("systemctl show -P MainPID recentfs")); now == before {
				t.Error("it is the same process")
			}
			log := s.Sh("journalctl -u recentfs --no-pager")
			if !strings.Contains(log, h.says) || h.says != "" && !strings.Contains(log, "goroutine ") {
				t.Errorf("it says\n%s", log)
			}
		})
	}
	s.Sh("kill -INT $(cat /run/ping.pid); while kill -0 $(cat /run/ping.pid); do sleep 0.01; done 2> /dev/null")
	// Each has come, but for those that were on their way at the end.
	came := make(map[int]int)
	for line := range strings.Lines(s.Sh("cat /run/ping")) {
		if _, number, ok := strings.Cut(line, " icmp_seq="); ok {
			var n int
			if _, err := fmt.Sscan(number, &n); err != nil {
				t.Fatal(err)
			}
			came[n]++
		}
	}
	last := slices.Max(slices.Collect(maps.Keys(came)))
	for n := range last {
		if came[n+1] != 1 {
			t.Errorf("packet %d of %d came %d times", n+1, last, came[n+1])
		}
	}
	if got := s.Sh("cat /run/files"); got != "" {
		t.Errorf("open files: %s", got)
	}
}

// TestWatchdogIsCalm has a daemon on one processor under all that takes long and is no
// hang: floods, reads far away in a large table, and reloads that move it. Nobody ends it.
func TestWatchdogIsCalm(t *testing.T) {
	d, start := keeper(t, outliveRules)
	d.Prepare = func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"taskset", "-c", "0", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/taskset"
		cmd.Env = append(os.Environ(), "WATCHDOG_USEC=2000000")
	}
	conf := filepath.Join(d.Dir, "conf")
	stamps := func(n int) {
		if err := os.WriteFile(conf, fmt.Appendf(nil, "options xt_recent ip_list_tot=4000000 ip_pkt_list_tot=%d\n", n), 0o600); err != nil {
			t.Error(err)
		}
	}
	stamps(20)
	start("--modprobe-conf", conf, "--keep")
	worker := lab.Child(t, d.Process())
	l := startLoad(t, d)
	var stop atomic.Bool
	var others sync.WaitGroup
	var reads, reloads atomic.Int64
	for range 20 {
		others.Go(func() {
			f, err := os.Open(d.File("a"))
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for b := make([]byte, 4096); !stop.Load(); reads.Add(1) {
				if _, err := f.ReadAt(b, rand.Int64N(1<<30)); err != nil && err != io.EOF {
					t.Error(err)
					return
				}
			}
		})
	}
	others.Go(func() {
		for n := 0; !stop.Load(); n++ {
			stamps(20 + n%2)
			if got := d.Recentfs("reload"); got.Code != 0 {
				t.Errorf("reload: %+v", got)
				return
			}
			reloads.Add(1)
		}
	})
	for n := lab.Soak(5, 400); n > 0 && lab.Child(t, d.Process()) == worker; n-- {
		l.goOn()
	}
	stop.Store(true)
	others.Wait()
	l.end()
	if said := d.Output.String(); lab.Child(t, d.Process()) != worker || strings.Contains(said, "hangs") {
		t.Errorf("it was ended:\n%s", said)
	}
	t.Logf("%d reads far away, %d reloads", reads.Load(), reloads.Load())
	d.Stop()
}
