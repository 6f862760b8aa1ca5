package fs

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/tests/lab"
)

func TestTableComesAndGoes(t *testing.T) {
	h := modern(t)
	foo := h.path("foo")
	var last uint64
	for range 50 {
		if _, err := os.Stat(foo); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("stat before the first rule: %v", err)
		}
		rule, second := h.rule(t, "foo"), h.rule(t, "foo")
		h.reg.Destroy(second)
		f, err := os.OpenFile(foo, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(foo, &st); err != nil || st.Ino == last {
			t.Fatalf("stat: %v, inode %d after %d", err, st.Ino, last)
		}
		last = st.Ino
		if _, err := f.WriteString("+1.2.3.4"); err != nil {
			t.Fatal(err)
		}
		h.reg.Destroy(rule)

		for what, err := range map[string]error{
			"stat":   unix.Stat(foo, &st),
			"access": unix.Access(foo, unix.F_OK),
			"chmod":  unix.Chmod(foo, 0o600),
			"open":   func() error { _, err := os.Open(foo); return err }(),
			"create": os.WriteFile(foo, []byte("+1.2.3.4"), 0o644),
		} {
			if !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%s after the last rule: %v, want ENOENT", what, err)
			}
		}
		if list, err := os.ReadDir(h.dir); err != nil || len(list) != 0 {
			t.Fatalf("listing after the last rule: %v, %v", list, err)
		}
		if _, err := f.ReadAt(make([]byte, 10), 0); !errors.Is(err, unix.EIO) {
			t.Fatalf("read after the last rule: %v, want EIO", err)
		}
		if _, err := f.WriteAt([]byte("+1.2.3.4"), 0); !errors.Is(err, unix.EIO) {
			t.Fatalf("write after the last rule: %v, want EIO", err)
		}
		again := h.rule(t, "foo")
		if got := content(t, foo); got != "" {
			t.Fatalf("a new table holds %q", got)
		}
		if _, err := f.ReadAt(make([]byte, 10), 0); !errors.Is(err, unix.EIO) {
			t.Fatalf("read of the old file beside the new: %v, want EIO", err)
		}
		h.reg.Destroy(again)
		f.Close()
	}
}

// TestTableGoesWhileAskedFor removes tables while others ask for them. The name of
// a table must go with it, even where an answer was under way at that moment.
func TestTableGoesWhileAskedFor(t *testing.T) {
	h := modern(t)
	foo := h.path("foo")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, ask := range []func(){
		func() { unix.Stat(foo, &unix.Stat_t{}) },
		func() { os.ReadFile(foo) },
		func() { unix.Chmod(foo, 0o600) },
		func() { os.WriteFile(foo, []byte("+1.2.3.4"), 0o644) },
		func() { os.ReadDir(h.dir) },
	} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					ask()
				}
			}
		})
	}
	for i := range 300 {
		rule := h.rule(t, "foo")
		if err := unix.Stat(foo, &unix.Stat_t{}); err != nil {
			t.Errorf("round %d: stat of a table: %v", i, err)
		}
		h.reg.Destroy(rule)
		if err := unix.Stat(foo, &unix.Stat_t{}); !errors.Is(err, unix.ENOENT) {
			t.Errorf("round %d: stat of a table that is gone: %v, want ENOENT", i, err)
		}
	}
	close(stop)
	wg.Wait()
}

// late is a filesystem whose answers about a table reach the kernel only after
// the table is gone and the kernel was told to distrust it.
type late struct {
	*filesystem
	op      string
	destroy func()
	done    atomic.Bool
}

func (l *late) after(op string) {
	if op == l.op && l.done.CompareAndSwap(false, true) {
		l.destroy()
	}
}

func (l *late) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	defer l.after("lookup")
	return l.filesystem.Lookup(cancel, in, name, out)
}

func (l *late) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.NodeId != fuse.FUSE_ROOT_ID {
		defer l.after("getattr")
	}
	return l.filesystem.GetAttr(cancel, in, out)
}

func (l *late) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer l.after("setattr")
	return l.filesystem.SetAttr(cancel, in, out)
}

func TestLateAnswer(t *testing.T) {
	lab.NeedRoot(t)
	for _, op := range []string{"lookup", "getattr", "setattr"} {
		t.Run(op, func(t *testing.T) {
			files, folder := newFilesystem(nil)
			reg := emptyModule(t).NewRegistry(folder.Update)
			h := &shown{reg: reg, dir: lab.TempDir(t)}
			h.m = unmounted(t, h.dir)
			rule := h.rule(t, "foo")
			l := &late{filesystem: files, op: op, destroy: func() { reg.Destroy(rule) }}
			h.m.fs = files
			if err := h.m.serve(l, device.Options()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { h.m.Unmount() })
			lab.WarmMount(t, h.dir)
			foo := h.path("foo")
			if op == "setattr" {
				unix.Chmod(foo, 0o600)
			} else {
				unix.Stat(foo, &unix.Stat_t{})
			}
			if !l.done.Load() {
				t.Fatalf("%s was not asked for", op)
			}
			if err := unix.Stat(foo, &unix.Stat_t{}); !errors.Is(err, unix.ENOENT) {
				t.Errorf("stat after a late answer to %s: %v, want ENOENT", op, err)
			}
		})
	}
}
