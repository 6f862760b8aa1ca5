package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// stubborn are rules that drop who is in the table BAD, and see all others.
const stubborn = `*recent
:QUEUE0 ACCEPT [0:0]
-A QUEUE0 -m recent --rcheck --name BAD -j DROP
-A QUEUE0 -m recent --set --name SEEN
COMMIT
`

// umount unmounts by umount(8). It waits while somebody is just looking at the mount.
func umount(t *testing.T, dir string, flags ...string) {
	t.Helper()
	lab.Eventually(t, "umount", func() error {
		if out, err := exec.Command("umount", append(flags, dir)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// awaitContent waits until a file has this in it.
func awaitContent(t *testing.T, path, want string) {
	t.Helper()
	lab.Eventually(t, path, func() error {
		text, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(text), want) {
			err = fmt.Errorf("it has %q", text)
		}
		return err
	})
}

// unmountedLines counts the log lines that say so.
func unmountedLines(d *lab.Daemon) int {
	return strings.Count(d.Output.String(), "was unmounted by somebody else")
}

// TestUmount unmounts the tables and the module fifty times while packets flow, also
// while a table is open, and by force. No packet and no address is lost.
func TestUmount(t *testing.T) {
	l, d := guarded(t, lab.IPv4, lab.UDPProbe, stubborn)
	d.Sh("echo +192.0.2.1 > BAD")
	var passed, lost atomic.Int64
	quit := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				if l.Echo(lab.IPv4, lab.IPv4.Client, lab.Patience) == nil {
					passed.Add(1)
				} else {
					lost.Add(1)
				}
			}
		}
	})
	file, err := os.OpenFile(d.File("BAD"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := d.Descriptors()
	for i := range 50 {
		flags := []string{"-l"}
		if i%3 > 0 {
			flags = nil // what is open is so on the mount that was detached first
		}
		if i == 30 {
			file.Close()
		}
		umount(t, d.Mount, flags...)
		awaitContent(t, d.File("SEEN"), "src=10.9.0.2 ")
		if i%2 == 0 {
			umount(t, d.Mount+".module", flags...)
			awaitContent(t, d.Mount+".module/parameters/ip_list_tot", "100\n")
		}
		if e := d.Only("BAD"); e.Src != "192.0.2.1" {
			t.Fatalf("round %d: BAD has %v", i, e)
		}
		if i < 30 {
			if _, err := file.WriteAt([]byte("+192.0.2.2"), 0); err != nil {
				t.Fatalf("round %d: the open file: %v", i, err)
			}
			if e := d.Read("BAD"); len(e) != 2 {
				t.Fatalf("round %d: BAD has %v", i, e)
			}
			d.Sh("echo -192.0.2.2 > BAD")
		}
	}
	close(quit)
	sender.Wait()
	if lost.Load() > 0 || passed.Load() == 0 {
		t.Errorf("%d packets passed, and %d got lost", passed.Load(), lost.Load())
	}
	d.Sh(fmt.Sprintf("echo +%v > BAD", lab.IPv4.Client))
	l.Dropped(lab.UDPProbe, lab.IPv4)
	// umount -f of a mount in use fails, and leaves it dead.
	if file, err = os.Open(d.File("BAD")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(d.Mount, unix.MNT_FORCE); !errors.Is(err, unix.EBUSY) {
		t.Errorf("umount -f: %v", err)
	}
	awaitContent(t, d.File("BAD"), "src=192.0.2.1 ")
	file.Close()
	if n := unmountedLines(d); n < 2 || n > 6 {
		t.Errorf("76 umounts were said %d times:\n%s", n, &d.Output)
	}
	lab.Eventually(t, "descriptors as before", func() error {
		if now := d.Descriptors(); now > before {
			return fmt.Errorf("%d are open, before it was %d", now, before)
		}
		return nil
	})
}

// TestUmountCopies unmounts while a program has a private copy of the mounts, and
// another one runs under exec. Both see the same tables as everybody else, also
// after a reload.
func TestUmountCopies(t *testing.T) {
	ns := lab.NewNetns(t)
	d := lab.StartDaemon(t, ns, sshSeen)
	gate := filepath.Join(d.Dir, "gate")
	const script = `await() { while ! test -e $1; do sleep 0.01; done; }
echo ready; await $0.1; echo +192.0.2.$1 > $2/ssh; await $0.2; ls $2; test ! -e $2/ssh`
	done := make(chan lab.Outcome, 2)
	var ready []*lab.Output
	start := func(cmd *exec.Cmd) {
		out := new(lab.Output)
		ready = append(ready, out)
		cmd.Stdout, cmd.Stderr = out, out
		if err := ns.Start(cmd); err != nil {
			t.Fatal(err)
		}
		go func() {
			cmd.Wait()
			done <- lab.Outcome{Stdout: out.String(), Code: cmd.ProcessState.ExitCode()}
		}()
	}
	start(exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-euc", script, gate, "1", d.Mount))
	start(d.Exec("sh", "-euc", script, gate, "2", "/proc/net/xt_recent"))
	lab.Eventually(t, "the programs start", func() error {
		for _, out := range ready {
			if !strings.Contains(out.String(), "ready") {
				return errors.New(out.String())
			}
		}
		return nil
	})
	for range 3 {
		umount(t, d.Mount, "-l")
		umount(t, d.Mount+".module", "-l")
		lab.Eventually(t, "the mounts are back", func() error {
			if m := d.Mounts(); len(m) != 2 {
				return fmt.Errorf("mounts %q; %s", m, &d.Output)
			}
			return nil
		})
	}
	open := func(n int) {
		t.Helper()
		if err := os.WriteFile(fmt.Sprintf("%s.%d", gate, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(1)
	awaitContent(t, d.File("ssh"), "192.0.2.1")
	awaitContent(t, d.File("ssh"), "192.0.2.2")
	d.SetRules(strings.ReplaceAll(sshSeen, "ssh", "web"))
	d.Must("reload")
	open(2)
	for range 2 {
		if got := <-done; got.Code != 0 || !strings.HasSuffix(got.Stdout, "web\n") {
			t.Errorf("exit %d: %s", got.Code, got.Stdout)
		}
	}
}

// TestUmountProcNet unmounts the tables of several namespaces, and each part of what
// covers /proc/net.
func TestUmountProcNet(t *testing.T) {
	home, red := lab.NewNetns(t), lab.NewNamed(t, "red")
	d := lab.StartDaemon(t, home, sshSeen, "--netns", "all", "--proc-net")
	d.AwaitFolders("host", "red")
	home.Sh(t, "echo +192.0.2.1 > "+d.Folder("red")+"/ssh; echo +192.0.2.2 > "+d.Folder("host")+"/ssh")
	for _, c := range []struct {
		dir   string
		flags int
	}{
		{d.Mount, 0}, {d.Mount, unix.MNT_DETACH}, {d.Mount + ".module", 0}, {d.Mount + ".module", unix.MNT_DETACH},
		{"/proc/tty/ldisc", unix.MNT_DETACH}, {"/proc/net", unix.MNT_DETACH},
	} {
		lab.Eventually(t, "umount "+c.dir, func() error { return unix.Unmount(c.dir, c.flags|unix.UMOUNT_NOFOLLOW) })
		for ns, want := range map[*lab.Netns]string{home: "192.0.2.2", red: "192.0.2.1"} {
			lab.Eventually(t, "the tables are back after umount "+c.dir, func() error {
				got := ns.Run(t, "sh", "-c", "cat /proc/net/xt_recent/ssh; cat /sys/module/xt_recent/parameters/ip_pkt_list_tot; grep -c lo: /proc/net/dev")
				if !strings.HasPrefix(got.Stdout, "src="+want) || !strings.HasSuffix(got.Stdout, "\n20\n1\n") {
					return fmt.Errorf("%+v; %s", got, &d.Output)
				}
				return nil
			})
		}
	}
}

// TestUmountForGood has something in the way of the mount when somebody unmounts it.
// Packets are decided all the same, and the mount comes back when it can.
func TestUmountForGood(t *testing.T) {
	l := lab.NewNetwork(t)
	l.Serve()
	l.QueueTo(lab.IPv4, "filter", "INPUT", lab.UDPProbe.Match(lab.IPv4), "--queue-num 0")
	d := lab.NewDaemon(t, l.Server, stubborn)
	if err := os.Mkdir(d.Mount, 0o755); err != nil {
		t.Fatal(err)
	}
	under, err := os.Open(d.Mount)
	if err != nil {
		t.Fatal(err)
	}
	defer under.Close()
	d.Start()
	t.Cleanup(d.Stop)
	d.Sh(fmt.Sprintf("echo +%v > BAD", lab.IPv4.Client))
	if err := unix.Mkdirat(int(under.Fd()), "x", 0o755); err != nil {
		t.Fatal(err)
	}
	umount(t, d.Mount)
	const said = "cannot be mounted again"
	lab.Eventually(t, "it says why", func() error {
		if !strings.Contains(d.Output.String(), said) {
			return errors.New(d.Output.String())
		}
		return nil
	})
	l.Dropped(lab.UDPProbe, lab.IPv4)
	d.Must("reload")
	if err := os.Remove(filepath.Join(d.Mount, "x")); err != nil {
		t.Fatal(err)
	}
	awaitContent(t, d.File("BAD"), "src=10.9.0.2 ")
	if n := strings.Count(d.Output.String(), said); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, &d.Output)
	}
}
