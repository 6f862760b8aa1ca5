package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/state"
)

// outliveEnv makes the test binary a server: it shows the tables of a directory, and
// goes on with the mount of the server before. dieEnv has it kill itself at a request.
const (
	outliveEnv = "RECENTFS_TEST_OUTLIVE"
	dieEnv     = "RECENTFS_TEST_DIE"
)

// tablesEnv names the server's tables, each as TABLE, or each as FOLDER/TABLE. leftEnv has a letter for each descriptor that
// the server before has left.
const (
	tablesEnv = "RECENTFS_TEST_TABLES"
	leftEnv   = "RECENTFS_TEST_LEFT"
)

// serveTables is the server. It gets a socket to the test as descriptor 3, and what the
// server before has left as 4 and 5.
func serveTables(base string) error {
	goFuseLoop = false
	socket := os.NewFile(3, "socket")
	var left []*os.File
	for range len(os.Getenv(leftEnv)) {
		left = append(left, os.NewFile(uintptr(4+len(left)), "left"))
	}
	clock, err := jiffies.NewSystem()
	if err != nil {
		return err
	}
	warn := func(text string) { fmt.Fprintln(os.Stderr, text) }
	names := strings.Fields(os.Getenv(tablesEnv))
	inFolders := strings.Contains(os.Getenv(tablesEnv), "/")
	kind := uint32(folderKind)
	if inFolders {
		kind = namespacesKind
	}
	var root *Folder
	var ns *Namespaces
	m, err := Mounter{Keep: true, Left: left}.mount(filepath.Join(base, "mnt"), kind,
		func(kept *kept) (served fuse.RawFileSystem, fs *filesystem) {
			if inFolders {
				fs, ns = newNamespaces(func(uint32) string { return "nowhere" }, kept)
			} else {
				fs, root = newFilesystem(kept)
			}
			return &mortal{filesystem: fs, at: os.Getenv(dieEnv)}, fs
		})
	if err != nil {
		return err
	}
	p := recent.DefaultParams(recent.Modern)
	p.ListTot = 1 << 20
	module, err := recent.NewModule(p, clock)
	if err != nil {
		return err
	}
	infos := make(map[string][]recent.Info) // by folder
	for _, name := range names {
		folder, table := filepath.Split(name)
		folder = strings.TrimSuffix(folder, "/")
		infos[folder] = append(infos[folder], recent.Info{CheckSet: recent.Set, Name: table, Mask: recent.AllOnes})
	}
	for name, infos := range infos {
		folder := root
		if inFolders {
			if folder, err = ns.Add(name); err != nil {
				return err
			}
		}
		memory, err := state.Open(filepath.Join(base, "live", name), filepath.Join(base, "saved", name), clock, warn)
		if err != nil {
			return err
		}
		reg := module.NewRegistryIn(memory, folder.Update)
		reg.SkipIDs(folder.LastID())
		if _, err := reg.CheckAll(infos); err != nil {
			return err
		}
		if err := memory.Clean(reg.Tables()); err != nil {
			return err
		}
	}
	if err := m.Answer(); err != nil {
		return err
	}
	said := "ready"
	if m.Anew() != nil {
		said = m.Anew().Error()
	}
	files, err := m.Files()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(int(files[0].Fd()), int(files[1].Fd()))
	if err := unix.Sendmsg(int(socket.Fd()), []byte(said), rights, nil, 0); err != nil {
		return err
	}
	if n, _ := socket.Read(make([]byte, 10)); n > 0 {
		if err := m.Leave(); err != nil {
			return err
		}
	}
	return nil
}

// mortal is a file system that kills its process at the first request of a kind,
// before or after that is done, and never answers it.
type mortal struct {
	*filesystem
	at string
}

func (m *mortal) die(at string) {
	if m.at == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (m *mortal) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	m.die("before OPEN")
	defer m.die("after OPEN")
	return m.filesystem.Open(cancel, in, out)
}

func (m *mortal) Read(cancel <-chan struct{}, in *fuse.ReadIn, b []byte) (fuse.ReadResult, fuse.Status) {
	m.die("before READ")
	defer m.die("after READ")
	return m.filesystem.Read(cancel, in, b)
}

func (m *mortal) Write(cancel <-chan struct{}, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	m.die("before WRITE")
	defer m.die("after WRITE")
	return m.filesystem.Write(cancel, in, b)
}

func (m *mortal) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	m.die("before RELEASE")
	defer m.die("after RELEASE")
	m.filesystem.Release(cancel, in)
}

func (m *mortal) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer m.die("after SETATTR")
	return m.filesystem.SetAttr(cancel, in, out)
}
