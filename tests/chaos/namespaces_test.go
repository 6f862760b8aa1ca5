package chaos

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"recentfs/tests/lab"
)

// busy reads and writes a table of a directory, by files that are open and by its name, and lists.
const busy = `cd $0; exec 3< w 4> w; echo ready; while :; do
cat <&3; echo +192.0.2.1 >&4; cat w; echo +192.0.2.2 > w; ls -l . ../../self/; done > /dev/null 2>&1`

// TestNamespacesVanish has namespaces and processes end, one after the other, while
// there are packets, reads, writes and reloads in them.
func TestNamespacesVanish(t *testing.T) {
	w := newWorld(t)
	w.tables = w.d.Folder("host")
	args := []string{"--netns", "all"}
	var sleepers []*exec.Cmd
	for range 5 {
		cmd := exec.Command("sleep", "1000")
		ns := lab.NewNetns(t)
		if err := ns.Start(cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		sleepers = append(sleepers, cmd)
		args = append(args, "--netns", fmt.Sprint(cmd.Process.Pid))
	}
	w.begin(args...)
	stop := make(chan struct{})
	var reloads sync.WaitGroup
	n := 0
	reloads.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if w.d.Recentfs("reload").Code == 0 {
				n++
			}
		}
	})
	type guest struct {
		ns     *lab.Netns
		name   string
		client *process
	}
	var guests []guest
	leave := func(g guest) {
		t.Helper()
		g.ns.Datagram(netip.MustParseAddrPort("127.0.0.1:7"))
		if err := lab.Detach(g.name); err != nil {
			t.Error(err)
		}
		g.ns.End()
		w.kills(g.client, syscall.SIGTERM)
	}
	for i := range lab.Soak(30, 1000) {
		g := guest{ns: lab.MakeNetns(t), name: fmt.Sprint("guest", i)}
		if err := g.ns.Name(g.name); err != nil {
			t.Fatal(err)
		}
		g.ns.Sh(t, "ip link set lo up; iptables-legacy -w -A INPUT -p udp -j NFQUEUE --queue-num 0")
		folder := w.d.Folder(g.name)
		lab.Eventually(t, "its tables come", func() error { _, err := os.Stat(filepath.Join(folder, "w")); return err })
		g.client = w.start("sh", "-c", busy, folder)
		w.begun(g.client)
		g.ns.Datagram(netip.MustParseAddrPort("127.0.0.1:7"))
		guests = append(guests, g)
		if len(guests) > 5 {
			leave(guests[0])
			guests = guests[1:]
		}
		if i < len(sleepers) {
			client := w.start("sh", "-c", busy, w.d.Folder(fmt.Sprint(sleepers[i].Process.Pid)))
			w.begun(client)
			sleepers[i].Process.Kill()
			sleepers[i].Wait()
			w.kills(client, syscall.SIGTERM)
		}
	}
	for _, g := range guests {
		leave(g)
	}
	close(stop)
	reloads.Wait()
	t.Logf("%d reloads", n)
	w.d.AwaitFolders("host")
	w.end()
}
