package fs

import (
	"log"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/tests/lab"
)

// requests is a go-fuse log that keeps the names of the requests.
type requests chan string

// aside are requests that may come at any time: when the kernel needs memory, or
// when a process gets a signal.
var aside = []string{"INTERRUPT", "FORGET", "BATCH_FORGET"}

var received = regexp.MustCompile(`rx \d+: (\w+)`)

func (r requests) Write(line []byte) (int, error) {
	if m := received.FindSubmatch(line); m != nil && !slices.Contains(aside, string(m[1])) {
		r <- string(m[1])
	}
	return len(line), nil
}

// until returns the requests up to that one and as many after it as release
// files: the kernel does not wait for a RELEASE.
func (r requests) until(t *testing.T, last string, releases int) []string {
	t.Helper()
	var all []string
	for seen := false; !seen || releases > 0; {
		select {
		case op := <-r:
			switch op {
			case last:
				seen = true
				continue
			case "RELEASE":
				releases--
			}
			all = append(all, op)
		case <-time.After(10 * time.Second):
			t.Fatalf("after %q: no %s, and %d RELEASE missing", all, last, releases)
		}
	}
	return all
}

func TestRequests(t *testing.T) {
	lab.NeedRoot(t)
	ops := make(requests, 1000)
	files, folder := newFilesystem(nil)
	reg := emptyModule(t).NewRegistry(folder.Update)
	h := &shown{reg: reg, dir: lab.TempDir(t)}
	h.m = unmounted(t, h.dir)
	h.m.fs = files
	opts := device.Options()
	opts.Debug, opts.Logger = true, log.New(ops, "", 0)
	if err := h.m.serve(files, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.m.Unmount() })
	lab.WarmMount(t, h.dir)
	h.rule(t, "foo")
	var st unix.Statfs_t
	unix.Statfs(h.dir, &st)
	ops.until(t, "STATFS", 1) // those of warm

	for _, c := range []struct {
		name, script string
		want         string
	}{
		{"first write", "echo +1.2.3.4 > foo", "LOOKUP GETATTR OPEN GETXATTR WRITE RELEASE"}, // file_remove_privs asks for a capability, once
		{"write", "echo +1.2.3.4 > foo", "OPEN WRITE RELEASE"},
		{"append", "echo +1.2.3.4 >> foo", "OPEN WRITE RELEASE"},
		{"read and write", "echo +1.2.3.4 1<>foo", "OPEN WRITE RELEASE"},
		{"remove", "echo -1.2.3.4 > foo", "OPEN WRITE RELEASE"},
		{"stat after a write", "test -e foo", "GETATTR"},
		{"stat", "test -e foo", ""},
		{"chmod", "chmod 644 foo", "SETATTR"},
		{"write after chmod", "echo / > foo", "GETATTR OPEN WRITE RELEASE"},
		{"truncate", ": > foo", "OPEN RELEASE"},
		{"cat", "cat foo", "OPEN GETATTR READ RELEASE"},
		{"cat again", "cat foo", "OPEN GETATTR READ RELEASE"},
		{"name that is not there", "test -e bar", "LOOKUP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			shell(h.dir, 0, c.script)
			unix.Statfs(h.dir, &st)
			got := ops.until(t, "STATFS", strings.Count(c.want, "RELEASE"))
			if want := strings.Fields(c.want); !slices.Equal(got, want) {
				t.Errorf("%s: requests %q, want %q", c.script, got, want)
			}
		})
	}
}
