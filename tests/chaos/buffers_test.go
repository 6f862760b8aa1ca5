package chaos

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"recentfs/tests/lab"
)

// The calls that have the kernel write to the client's memory, and those that have it
// read there.
var (
	reading = []string{"read", "readv", "stat", "getdents", "statfs", "uring read"}
	writing = []string{"write", "uring write"}
)

// silent is a file whose reads are not answered.
type silent struct {
	gofs.Inode
	quit chan struct{}
}

func (s *silent) Open(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0 // or the next open would wait for the first one's page
}

func (s *silent) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = 0o666, 1<<20
	return 0
}

func (s *silent) Setattr(context.Context, gofs.FileHandle, *fuse.SetAttrIn, *fuse.AttrOut) syscall.Errno {
	return 0
}

func (s *silent) Read(context.Context, gofs.FileHandle, []byte, int64) (fuse.ReadResult, syscall.Errno) {
	<-s.quit
	return nil, syscall.EIO
}

// mountSilent mounts a file system with such a file, and returns the file's path. It is
// not for this process.
func mountSilent(t *testing.T) string {
	t.Helper()
	dir := lab.TempDir(t)
	file := &silent{quit: make(chan struct{})}
	root := new(gofs.Inode)
	options := &gofs.Options{OnAdd: func(ctx context.Context) {
		root.AddChild("silent", root.NewPersistentInode(ctx, file, gofs.StableAttr{Mode: syscall.S_IFREG}), false)
	}}
	options.AllowOther, options.DirectMount = true, true
	server, err := gofs.Mount(dir, root, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(file.quit)
		lab.Eventually(t, "umount the silent file system", server.Unmount)
	})
	return filepath.Join(dir, "silent")
}

// TestBuffers has clients call with memory that never comes: of a page that nobody
// fills, or of a file of another file system that does not answer. They wait, and all
// others go on.
func TestBuffers(t *testing.T) {
	file := mountSilent(t)
	for _, c := range []struct {
		name  string
		uid   uint32
		args  []string
		calls []string
		table string // that others use meanwhile
	}{
		{"userfaultfd", 0, []string{"unfilled"}, reading, "open"},
		{"another file system", nobody, []string{"mapped", file}, reading, "open"},
		// Who writes holds the file's lock (fuse_direct_write_iter), and other writers
		// of this table wait. Procfs has no such lock.
		{"userfaultfd, writes", 0, []string{"unfilled"}, writing, "w"},
		{"another file system, writes", nobody, []string{"mapped", file}, writing, "w"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := startWorld(t)
			var all []*process
			for range lab.Soak(3, 30) {
				for _, call := range c.calls {
					all = append(all, w.startClient(c.uid, append(c.args, call)...))
				}
			}
			for _, p := range all {
				w.begun(p)
			}
			w.goesOn()
			w.d.Must("reload")
			// Who lists the directory into such memory holds its lock, and whoever makes or
			// removes a name there waits for that. In procfs it is the same.
			for _, script := range []string{
				"ls -l", "cat open seen w", "echo +192.0.2.1 > $t", "echo +192.0.2.1 | tee -a $t", ": > $t", "stat $t", "tail -n 1 $t",
				"chmod 666 $t", "chown 0 $t", "stat -f .", "test ! -e new",
			} {
				if got := w.run("t=" + c.table + "; " + script); got.Code != 0 {
					t.Errorf("%s: %+v", script, got)
				}
			}
			for _, p := range all {
				select {
				case <-p.ended:
					t.Errorf("%v has ended: %s", p.Args, &p.output)
				default:
				}
			}
			w.killsAll(all, syscall.SIGTERM, syscall.SIGKILL)
			w.end()
		})
	}
}

// TestFullPipes has clients move a table into pipes that nobody reads.
func TestFullPipes(t *testing.T) {
	w := startWorld(t)
	if err := os.WriteFile(w.file("open"), []byte("+192.0.2.1"), 0); err != nil {
		t.Fatal(err)
	}
	var all []*process
	for range lab.Soak(20, 500) {
		all = append(all, w.startClient(nobody, "full"))
	}
	for _, p := range all {
		w.in(p, "splice")
	}
	w.goesOn()
	w.killsAll(all, syscall.SIGTERM)
	w.end()
}
