package e2e

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// TestContainer binds the directory of the mount into another mount namespace, as a
// slave, as `docker run -v /run/recentfs:/run/recentfs:rslave` does. It shows the
// tables there, also those of a recentfs that is started again.
func TestContainer(t *testing.T) {
	home := lab.NewNetns(t)
	d := lab.NewDaemon(t, home, sshSeen)
	d.Start()
	container := exec.Command("unshare", "--mount", "--propagation", "slave", "sh", "-euc",
		`mount --rbind --make-rslave "$0" /mnt; echo bound; exec sleep 1000`, d.Dir)
	out, err := container.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := home.Start(container); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { container.Process.Kill(); container.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the container says %q: %v", line, err)
	}
	inside := func(script string) lab.Outcome {
		return home.Run(t, "nsenter", "-t", fmt.Sprint(container.Process.Pid), "-m", "sh", "-euc", script)
	}
	for i, restart := range []func(){func() {}, d.Stop, d.Kill} {
		restart()
		if i > 0 {
			d.Start()
		}
		address := fmt.Sprintf("192.0.2.%d", i)
		lab.Eventually(t, "the table in the container", func() error {
			if got := inside("echo +" + address + " > /mnt/xt_recent/ssh; cat /mnt/xt_recent/ssh"); !strings.Contains(got.Stdout, address) {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
		if text := d.Sh("cat ssh"); !strings.Contains(text, address) {
			t.Errorf("after start %d, outside: %q, want %s", i+1, text, address)
		}
	}
	d.Stop()
}
