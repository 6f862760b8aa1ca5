package helper

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture/nfqueue"
	"recentfs/fs"
	"recentfs/fs/procnet"
	"recentfs/namespaces"
	"recentfs/tests/lab"
)

// hosts are both ways to have what needs privileges.
func hosts(t *testing.T, a Allowed) map[string]Host {
	t.Helper()
	own, err := NewOwn(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	return map[string]Host{"own": own, "helper": connect(t, a)}
}

// TestMount mounts, is unmounted by somebody else, mounts again and unmounts.
func TestMount(t *testing.T) {
	a := allowed(t)
	for name, host := range hosts(t, a) {
		t.Run(name, func(t *testing.T) {
			m, _, err := fs.Mounter{Sites: host}.Mount(a.Mountpoint)
			if err != nil {
				t.Fatal(err)
			}
			lab.WarmMount(t, a.Mountpoint)
			for range 2 {
				if err := unix.Unmount(a.Mountpoint, unix.MNT_DETACH); err != nil {
					t.Fatal(err)
				}
				if restored, err := m.Restore(); !restored || err != nil {
					t.Fatal(restored, err)
				}
				if !fs.IsLive(a.Mountpoint) {
					t.Fatal("it is not mounted")
				}
			}
			if restored, err := m.Restore(); restored || err != nil {
				t.Error(restored, err)
			}
			busy, err := os.Open(a.Mountpoint)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Unmount(); !errors.Is(err, unix.EBUSY) {
				t.Errorf("unmounted in use: %v, want EBUSY", err)
			}
			busy.Close()
			if _, err := os.Stat(a.Mountpoint); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the directory that was made: %v", err)
			}
		})
	}
}

// TestNamespaces opens sockets in network namespaces, as long as they are there.
func TestNamespaces(t *testing.T) {
	a := allowed(t)
	dmz := lab.NewNamed(t, "dmz")
	lab.NewNamed(t, "gone")
	lab.NewNamed(t, "other")
	a.Netns = []string{"dmz", "gone"}
	all := hosts(t, a)
	present, err := all["own"].Present()
	if err != nil {
		t.Fatal(err)
	}
	still, err := all["own"].Hold(present[1]) // it exists after its name
	if err != nil || present[1].Name != "gone" {
		t.Fatal(present, err)
	}
	defer still.Close()
	if err := lab.Detach("gone"); err != nil {
		t.Fatal(err)
	}
	plain, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for name, host := range all {
		t.Run(name, func(t *testing.T) {
			if got, err := host.Present(); err != nil || len(got) != 1 || got[0].Name != "dmz" {
				t.Errorf("%v, %v", got, err)
			}
			for _, f := range present {
				held, err := host.Hold(f)
				if f.Name == "gone" {
					if _, late := host.QueueSocket(f, still); !errors.Is(err, namespaces.ErrGone) || !errors.Is(late, namespaces.ErrGone) {
						t.Errorf("%v, %v, want that it is gone", err, late)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if _, err := host.QueueSocket(f, still); !errors.Is(err, namespaces.ErrGone) {
					t.Errorf("a socket in one namespace by the file of another: %v", err)
				}
				if _, err := host.QueueSocket(f, plain); err == nil || !strings.Contains(err.Error(), "is no network namespace") {
					t.Errorf("a socket in a namespace by a plain file: %v", err)
				}
				socket, err := host.QueueSocket(f, held)
				if err != nil {
					t.Fatal(err)
				}
				var stat unix.Stat_t
				if err := unix.Fstat(int(held.Fd()), &stat); err != nil || stat.Ino != f.ID.Ino {
					t.Errorf("namespace %d is held, %v, want %d", stat.Ino, err, f.ID.Ino)
				}
				held.Close()
				q, err := socket.Open(7, nfqueue.Options{})
				if err != nil {
					t.Fatal(err)
				}
				bound := dmz.Sh(t, "cat /proc/net/netfilter/nfnetlink_queue")
				if !strings.HasPrefix(strings.TrimSpace(bound), "7 ") {
					t.Errorf("in the namespace these queues are bound: %s", bound)
				}
				if err := q.Close(); err != nil {
					t.Error(err)
				}
			}
			other := namespaces.Found{Name: "other", Path: filepath.Join(namespaces.Directory, "other")}
			if _, err := host.Hold(other); err == nil || !strings.Contains(err.Error(), "not allowed") {
				t.Errorf("another one is held: %v", err)
			}
			if _, err := host.QueueSocket(other, still); err == nil || !strings.Contains(err.Error(), "not allowed") {
				t.Errorf("a socket in another one: %v", err)
			}
			mine, err := namespaces.Of(os.Getpid())
			if got, asked := host.NetnsOf(os.Getpid()); got != mine || err != nil || asked != nil {
				t.Errorf("%v, %v, want %v, %v", got, asked, mine, err)
			}
			if _, err := host.NetnsOf(0); err == nil {
				t.Error("process 0 has a namespace")
			}
		})
	}
}

// TestConnect connects to helpers that systemd has started with the same flags and with
// others, and for namespaces that are not there.
func TestConnect(t *testing.T) {
	lab.NewNamed(t, "dmz")
	for _, c := range []struct {
		name  string
		netns []string // that the helper has when it is started
		now   []string // that one has which is started now
		want  []string // that are asked for
		err   string
	}{
		{"its own namespace", nil, nil, nil, ""},
		{"one", []string{"dmz"}, nil, []string{"dmz"}, ""},
		{"all", []string{"all"}, nil, []string{"all"}, ""},
		{"flags that have changed", nil, []string{"dmz"}, []string{"dmz"}, ""},
		{"fewer than the helper has", []string{"all"}, []string{"all"}, []string{"dmz"}, ""},
		{"more than the helper has", nil, nil, []string{"dmz"}, "network namespace dmz is not there, or the helper's --netns does not name it"},
		{"one that is not there", []string{"all"}, []string{"all"}, []string{"blue"}, "network namespace blue is not there"},
		{"no name", nil, nil, []string{""}, "name one of 'ip netns list'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := allowed(t)
			path := filepath.Join(lab.TempDir(t), "socket")
			started := 0
			activate(t, path, func() Allowed {
				now := a
				if now.Netns = c.now; started == 0 {
					now.Netns = c.netns
				}
				started++
				return now
			})
			want := a
			want.Netns = c.want
			client, err := Connect(path, want)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("%v, want %q", err, c.err)
			}
			if err != nil {
				return
			}
			if found, err := client.Present(); err != nil || len(found) == 0 {
				t.Errorf("then there are %v, %v", found, err)
			}
		})
	}
	if _, err := Connect("nowhere", Allowed{}); err == nil || !strings.Contains(err.Error(), "systemctl start recentfs-helper.socket") {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestCover covers /proc/net, where that is allowed.
func TestCover(t *testing.T) {
	a := allowed(t)
	for name, host := range hosts(t, a) {
		if err := host.Cover(false); err == nil || !strings.Contains(err.Error(), "--proc-net") {
			t.Errorf("%s: covered: %v", name, err)
		}
		if restored, err := host.RestoreCover(); restored || err != nil || procnet.Module() != "" {
			t.Errorf("%s: restored: %v, %v", name, restored, err)
		}
	}
	a.ProcNet = true
	for name, host := range hosts(t, a) {
		t.Run(name, func(t *testing.T) {
			m, err := fs.Mounter{Sites: host}.MountModule(fs.ModuleDir(a.Mountpoint), fs.Module{})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Unmount()
			for _, goesOn := range []bool{false, true} {
				if err := host.Cover(goesOn); err != nil {
					t.Fatal(err)
				}
				if got := procnet.Module(); got != m.Dir() {
					t.Errorf("/proc/net leads to %q, want %q", got, m.Dir())
				}
			}
			if err := unix.Unmount("/proc/net", unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				t.Fatal(err)
			}
			for _, want := range []bool{true, false} {
				if restored, err := host.RestoreCover(); restored != want || err != nil {
					t.Errorf("restored: %v, %v, want %v", restored, err, want)
				}
			}
			if err := errors.Join(host.RefreshCover(), host.Uncover()); err != nil || procnet.Module() != "" {
				t.Errorf("%v; then /proc/net leads to %q", err, procnet.Module())
			}
		})
	}
}

// TestOpen opens what only root may open, and nothing else.
func TestOpen(t *testing.T) {
	a := allowed(t)
	a.KernelLog = true
	for name, host := range hosts(t, a) {
		for _, f := range []File{TimerList, KernelLog} {
			file, err := host.Open(f)
			if err != nil {
				t.Fatal(name, err)
			}
			var stat, want unix.Stat_t
			if err := errors.Join(unix.Fstat(int(file.Fd()), &stat), unix.Stat(string(f), &want)); err != nil || stat.Ino != want.Ino || stat.Rdev != want.Rdev {
				t.Errorf("%s: %s is another file: %v", name, f, err)
			}
			file.Close()
		}
		if _, err := host.Open("/etc/shadow"); err == nil || !strings.Contains(err.Error(), "no file for the helper to open") {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.KernelLog = false
	for name, host := range hosts(t, a) {
		if _, err := host.Open(KernelLog); err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
