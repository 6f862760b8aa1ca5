package tables

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/cmd/recentfs/internal/report"
	"recentfs/fs"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// registry is a registry with tables, shown by a folder.
func registry(t *testing.T, folder *fs.Folder, tables ...string) {
	t.Helper()
	module, err := recent.NewModule(recent.DefaultParams(recent.Modern), jiffies.NewManual(1000, 100))
	if err != nil {
		t.Fatal(err)
	}
	r := module.NewRegistry(folder.Update)
	for _, name := range tables {
		rules, err := r.CheckAll([]recent.Info{{CheckSet: recent.Set, Name: name, Mask: recent.AllOnes}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Destroy(rules[0]) })
	}
}

// mounts are two mounts in a directory: one, with the table SSH and others, and
// several, whose link leads to a namespace that is not served.
func mounts(t *testing.T, others ...string) string {
	t.Helper()
	lab.NeedRoot(t)
	root := lab.TempDir(t)
	one, folder, err := fs.Mount(filepath.Join(root, "one"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Unmount() })
	registry(t, folder, append(others, "SSH")...)
	several, namespaces, err := fs.MountNamespaces(filepath.Join(root, "several"), func(uint32) string { return "unmanaged" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { several.Unmount() })
	blue, err := namespaces.Add("blue")
	if err != nil {
		t.Fatal(err)
	}
	registry(t, blue)
	lab.WarmMount(t, one.Dir())
	lab.WarmMount(t, several.Dir())
	return root
}

// TestErrors has each error say what is missing and what to do.
func TestErrors(t *testing.T) {
	root := mounts(t)
	for _, c := range []struct{ name, mount, netns, table, err string }{
		{"a table", "one", "", "SSH", ""},
		{"no such table", "one", "", "FTP", `one has no table "FTP" among its 1: a table is there as long as a rule names it`},
		{"no name", "one", "", "", `"" is no table's name`},
		{"a path", "one", "", "../one/SSH", `"../one/SSH" is no table's name`},
		{"no mount", "none", "", "SSH", "none: there are no tables: start 'recentfs run'"},
		{"no such table in a namespace", "several", "blue", "SSH", `ns/blue has no table "SSH" among its 0`},
		{"a namespace that is not served", "several", "red", "SSH", "network namespace red is not served there: see 'ls " + root + "/several/ns'"},
		{"a namespace where there is one", "one", "red", "SSH", "one: the tables there are those of one network namespace: leave --netns out"},
		{"the caller's is not served", "several", "", "SSH", "several/self: this network namespace has no tables: name one that has by --netns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Place{filepath.Join(root, c.mount), c.netns}.Write(c.table, nil)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

// TestStrangers leaves everything alone that is not a recentfs's.
func TestStrangers(t *testing.T) {
	root := mounts(t)
	stranger := filepath.Join(root, "net", "xt_recent")
	if err := os.MkdirAll(stranger, 0o755); err != nil {
		t.Fatal(err)
	}
	victim, fifo := filepath.Join(stranger, "victim"), filepath.Join(root, "fifo")
	const text = "src=192.0.2.1 ttl: 64 last_seen: 1 oldest_pkt: 1 1\n"
	if err := os.WriteFile(victim, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "one"), filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	bind := func(from, to string) {
		t.Helper()
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
	}
	covered := mounts(t, "FILE", "FIFO")
	bind(victim, filepath.Join(covered, "one/FILE"))
	bind(fifo, filepath.Join(covered, "one/FIFO"))
	sys := filepath.Join(root, "sys", "net", "xt_recent")
	if err := os.MkdirAll(sys, 0o755); err != nil {
		t.Fatal(err)
	}
	bind("/proc/sys", sys)
	other := filepath.Join(root, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := fuse.NewServer(fuse.NewDefaultRawFileSystem(), other, &fuse.MountOptions{Name: "other", DirectMountStrict: true})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve()
	t.Cleanup(func() { server.Unmount() })
	for _, c := range []struct{ name, dir, table, err string }{
		{"another program's FUSE mount", other, "victim", "of type fuse.other"},
		{"a directory", stranger, "victim", "this is no mount of recentfs, but a directory in a file system of type "},
		{"the root of a tmpfs", "/run", "victim", "of type tmpfs"},
		{"another directory of procfs", "/proc/net", "dev", "of type proc"},
		{"procfs under the module's name", sys, "victim", "of type proc"},
		{"a file", victim, "victim", "not a directory"},
		{"a FIFO", fifo, "victim", "not a directory"},
		{"a file on a table's", filepath.Join(covered, "one"), "FILE", "something else is mounted there"},
		{"a FIFO on a table's", filepath.Join(covered, "one"), "FIFO", ""},
		{"a link that leads to a mount", filepath.Join(root, "link"), "SSH", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Place{Mountpoint: c.dir}
			var out strings.Builder
			for _, err := range []error{p.Write(c.table, []string{"/"}), p.Show(c.table, report.Query{}, false, &out, &out)} {
				if (err == nil) != (c.err == "-") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %q", err, c.err)
				}
			}
			if c.err != "-" && out.String() != "" {
				t.Errorf("it prints %q", &out)
			}
		})
	}
	if now, err := os.ReadFile(victim); err != nil || string(now) != text {
		t.Errorf("the file has become %q, %v", now, err)
	}
}

// TestModule works on the kernel's own tables, where it has the module.
func TestModule(t *testing.T) {
	if _, err := os.Stat("/proc/net/xt_recent"); errors.Is(err, os.ErrNotExist) {
		t.Skip("this kernel has no xt_recent: CONFIG_NETFILTER_XT_MATCH_RECENT")
	}
	ns := lab.NewNetns(t)
	ns.Sh(t, "iptables-legacy -A INPUT -m recent --name T --set")
	p := Place{Mountpoint: "/proc/thread-self/net/xt_recent"}
	var out strings.Builder
	if err := ns.Do(func() error {
		if err := p.Write("T", []string{"+192.0.2.1", "+2001:db8::1", "+192.0.2.2", "-192.0.2.1"}); err != nil {
			return err
		}
		return p.Show("", report.Query{Sort: report.ByAddress}, true, &out, &out)
	}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, line[:strings.Index(line, `,"ttl"`)])
	}
	if want := []string{`{"table":"T","address":"192.0.2.2"`, `{"table":"T","address":"2001:db8::1"`}; !slices.Equal(got, want) {
		t.Errorf("it prints %q, want %q", got, want)
	}
}

// TestShow prints what is asked for, and of all tables those that can be read.
func TestShow(t *testing.T) {
	root := mounts(t, "A", "B")
	one := filepath.Join(root, "one")
	p := Place{Mountpoint: one}
	if err := p.Write("B", []string{"+192.0.2.1", "+192.0.2.9"}); err != nil {
		t.Fatal(err)
	}
	// A table that others see through a mount of /dev/null.
	if err := unix.Mount("/dev/null", filepath.Join(one, "A"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(filepath.Join(one, "A"), unix.MNT_DETACH) })
	for _, c := range []struct {
		name, table    string
		query          report.Query
		out, warn, err string // what they begin with, line by line
	}{
		{"all", "", report.Query{}, "B\n  ADDRESS\n  192.0.2.1\n  192.0.2.9\nB: 2 addresses\nSSH: 0 addresses\n", one + "/A: something else", ""},
		{"one", "B", report.Query{Limit: 1}, "B\n  ADDRESS\n  192.0.2.1\nB: 1 address shown\n", "", ""},
		{"an address", "B", report.Query{Prefix: prefix(t, "192.0.2.9/32")}, "B\n  ADDRESS\n  192.0.2.9\nB: 1 address shown\n", "", ""},
		{"no such address", "B", report.Query{Prefix: prefix(t, "192.0.2.2/32")}, "", "", one + "/B: 192.0.2.2 is not in it"},
		{"none of a prefix", "B", report.Query{Prefix: prefix(t, "::/0")}, "", "", one + "/B: no address is in ::/0"},
		{"none of late", "B", report.Query{Since: time.Nanosecond}, "B: 0 addresses shown\n", "", ""},
		{"one that cannot be read", "A", report.Query{}, "", "", one + "/A: something else is mounted there"},
		{"a path", "./A", report.Query{}, "", "", `"./A" is no table's name`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, warn strings.Builder
			err := p.Show(c.table, c.query, false, &out, &warn)
			if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			got, want := strings.SplitAfter(out.String(), "\n"), strings.SplitAfter(c.out, "\n")
			if !slices.EqualFunc(got, want, func(got, want string) bool { return strings.HasPrefix(got, strings.TrimSuffix(want, "\n")) }) {
				t.Errorf("it prints\n%s\nwant\n%s", &out, c.out)
			}
			if !strings.HasPrefix(warn.String(), c.warn) || c.warn == "" && warn.String() != "" {
				t.Errorf("it warns of %q, want %q", &warn, c.warn)
			}
		})
	}
	if err := p.Show("", report.Query{}, false, failing{}, failing{}); err != unix.ENOSPC {
		t.Errorf("where nothing can be written: %v", err)
	}
}

func prefix(t *testing.T, s string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, unix.ENOSPC }

// TestNoProc has descriptors of which procfs knows nothing.
func TestNoProc(t *testing.T) {
	if _, err := checkDir(-1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// interrupted is a file system with a file that opens at the second try.
type interrupted struct {
	fuse.RawFileSystem
	tries atomic.Int32
}

func (i *interrupted) Lookup(_ <-chan struct{}, _ *fuse.InHeader, _ string, out *fuse.EntryOut) fuse.Status {
	out.NodeId, out.Attr.Mode = 2, unix.S_IFREG|0o644
	return fuse.OK
}

func (i *interrupted) Open(_ <-chan struct{}, _ *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	if i.tries.Add(1) == 1 {
		return fuse.EINTR
	}
	return fuse.OK
}

// TestInterrupted opens a file again where a signal came between.
func TestInterrupted(t *testing.T) {
	lab.NeedRoot(t)
	dir := lab.TempDir(t)
	i := &interrupted{RawFileSystem: fuse.NewDefaultRawFileSystem()}
	server, err := fuse.NewServer(i, dir, &fuse.MountOptions{Name: "other", DirectMountStrict: true})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve()
	t.Cleanup(func() { server.Unmount() })
	lab.WarmMount(t, dir)
	fd, err := openat(unix.AT_FDCWD, filepath.Join(dir, "file"), unix.O_RDONLY)
	if err != nil || i.tries.Load() != 2 {
		t.Fatalf("%v after %d tries", err, i.tries.Load())
	}
	unix.Close(fd)
}
