package chaos

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// stopped is how long TestStopped stops the daemon.
var stopped = time.Duration(lab.Soak(1, 60)) * time.Second

// TestStopped stops the daemon under load. Who asks it waits, and can be killed. When it
// goes on, so do all others.
func TestStopped(t *testing.T) {
	w := startWorld(t)
	w.d.Signal(syscall.SIGSTOP)
	resume := sync.OnceFunc(func() { w.d.Signal(syscall.SIGCONT) })
	t.Cleanup(resume)
	var killed, patient []*process
	for range lab.Soak(4, 50) {
		for _, script := range []string{"cat w", "echo +192.0.2.2 > w", "ls -l", "stat -f .", ": > w", "chmod 644 w", "echo 7 > ../xt_recent.module/parameters/ip_list_uid"} {
			killed = append(killed, w.start("sh", "-c", script))
		}
		patient = append(patient, w.start("cat", "w"), w.start("sh", "-c", "echo +192.0.2.3 > w"))
	}
	time.Sleep(stopped) // as long as somebody stops it
	w.killsAll(killed, syscall.SIGTERM, syscall.SIGKILL)
	resume()
	for _, p := range patient {
		w.ends(p)
	}
	w.end()
}
