package fs

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// Module is what the mount of the module itself shows: the directory
// parameters, as in /sys/module/xt_recent, and the symbolic link self. Its
// functions are called by many goroutines.
type Module struct {
	Params func() recent.Params
	// SetOwner changes ip_list_uid or ip_list_gid, which own new tables.
	SetOwner func(name string, id uint32)
	// Self is where the link leads a process: the directory with the tables of its
	// network namespace, in the mount of MountNamespaces or Mount. pid is as in
	// MountNamespaces.
	Self func(pid uint32) string
}

// parametersName is the directory of the module's parameters.
const parametersName = "parameters"

// parameters are the module_param lines of xt_recent.c.
var parameters = []struct {
	name  string
	perms uint32
	get   func(recent.Params) uint32
}{
	{"ip_list_tot", 0o400, func(p recent.Params) uint32 { return p.ListTot }},
	{"ip_pkt_list_tot", 0o400, func(p recent.Params) uint32 { return p.PktListTot }},
	{"ip_list_hash_size", 0o400, recent.Params.HashSize},
	{"ip_list_perms", 0o400, func(p recent.Params) uint32 { return p.Perms }},
	{"ip_list_uid", 0o644, func(p recent.Params) uint32 { return p.UID }},
	{"ip_list_gid", 0o644, func(p recent.Params) uint32 { return p.GID }},
}

// ModuleDir is the directory, beside the mount of the tables, where a recentfs
// mounts its module.
func ModuleDir(tables string) string { return filepath.Clean(tables) + ".module" }

// ModuleFiles are the paths of what MountModule shows in dir: the link to the
// caller's tables, and the files of the parameters.
func ModuleFiles(dir string) (tables string, files []string) {
	for _, p := range parameters {
		files = append(files, filepath.Join(dir, parametersName, p.name))
	}
	return filepath.Join(dir, SelfName), files
}

// MountModule shows the module in dir, as Mount shows tables.
func MountModule(dir string, module Module) (*Mountpoint, error) {
	return Mounter{}.MountModule(dir, module)
}

// moduleFS answers the kernel's requests for the mount of the module. Its tree
// never changes, and a node's ID says what the node is.
type moduleFS struct {
	fuse.RawFileSystem // answers ENOSYS to what is not answered here

	module Module
	made   time.Time // the times of all nodes
}

const (
	moduleSelfID     = fuse.FUSE_ROOT_ID + 1
	parametersID     = fuse.FUSE_ROOT_ID + 2
	firstParameterID = fuse.FUSE_ROOT_ID + 3
)

// newModuleFS keeps the times for the next process, unless kept is nil.
func newModuleFS(module Module, kept *kept) fuse.RawFileSystem {
	fs := &moduleFS{RawFileSystem: fuse.NewDefaultRawFileSystem(), module: module, made: time.Now()}
	switch {
	case kept == nil:
	case kept.made != 0:
		fs.made = at(kept.made)
	default:
		kept.made = fs.made.UnixNano()
	}
	return fs
}

// String implements fuse.RawFileSystem.
func (fs *moduleFS) String() string { return fsName }

// moduleEntries are the entries of a directory, by position.
func moduleEntries(node uint64) (entries []fuse.DirEntry) {
	switch node {
	case fuse.FUSE_ROOT_ID:
		return []fuse.DirEntry{
			{Name: SelfName, Ino: moduleSelfID, Mode: unix.S_IFLNK},
			{Name: parametersName, Ino: parametersID, Mode: unix.S_IFDIR},
		}
	case parametersID:
		for i, p := range parameters {
			entries = append(entries, fuse.DirEntry{Name: p.name, Ino: firstParameterID + uint64(i), Mode: unix.S_IFREG})
		}
	}
	return entries
}

// attr fills in the attributes of a node, as in sysfs.
func (fs *moduleFS) attr(node uint64, out *fuse.Attr) {
	out.Ino = node
	switch node {
	case fuse.FUSE_ROOT_ID, parametersID:
		ownAttr(out, unix.S_IFDIR, recent.Attr{Perms: 0o755}, fs.made)
		out.Nlink = 2
	case moduleSelfID:
		ownAttr(out, unix.S_IFLNK, recent.Attr{Perms: 0o777}, fs.made)
		out.Nlink = 1
	default:
		ownAttr(out, unix.S_IFREG, recent.Attr{Perms: parameters[node-firstParameterID].perms}, fs.made)
		out.Size = 4096 // PAGE_SIZE, as of every attribute: sysfs_add_file_mode_ns
		out.Nlink = 1
	}
}

// Lookup follows kernfs_iop_lookup.
func (fs *moduleFS) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	for _, e := range moduleEntries(in.NodeId) {
		if e.Name == name {
			out.NodeId = e.Ino
			fs.attr(e.Ino, &out.Attr)
			out.SetEntryTimeout(valid)
			out.SetAttrTimeout(valid)
			return fuse.OK
		}
	}
	return fuse.ENOENT
}

// GetAttr follows kernfs_iop_getattr.
func (fs *moduleFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.attr(in.NodeId, &out.Attr)
	out.SetTimeout(valid)
	return fuse.OK
}

// SetAttr accepts a size and times, which have no effect. It refuses a mode and an
// owner.
func (fs *moduleFS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.Valid&(fuse.FATTR_MODE|fuse.FATTR_UID|fuse.FATTR_GID) != 0 {
		return fuse.EPERM
	}
	fs.attr(in.NodeId, &out.Attr)
	out.SetTimeout(valid)
	return fuse.OK
}

// StatFs follows simple_statfs.
func (fs *moduleFS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	statFs(out)
	return fuse.OK
}

// Readlink leads each process to its own tables. The kernel asks each time.
func (fs *moduleFS) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	return []byte(fs.module.Self(in.Pid)), fuse.OK
}

// OpenDir opens a directory for listing, which needs no memory: see listing.go.
func (fs *moduleFS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

// ReadDir follows kernfs_fop_readdir.
func (fs *moduleFS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	addEntries(in, out, func(yield func(uint64, fuse.DirEntry) bool) {
		for i, e := range moduleEntries(in.NodeId) {
			if position := firstPosition + uint64(i); position > in.Offset && !yield(position, e) {
				return
			}
		}
	})
	return fuse.OK
}

// Open follows kernfs_fop_open: not even root can open a file for writing that
// nobody may write.
func (fs *moduleFS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY && parameters[in.NodeId-firstParameterID].perms&0o222 == 0 {
		return fuse.EACCES
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// Read follows module_attr_show and param_get_uint of kernel/params.c.
func (fs *moduleFS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	text := fmt.Appendf(nil, "%d\n", parameters[in.NodeId-firstParameterID].get(fs.module.Params()))
	n := copy(buf, text[min(in.Offset, uint64(len(text))):])
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write follows param_set_uint of kernel/params.c. It takes the number at any
// position: sysfs_kf_write.
func (fs *moduleFS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	id, err := parseUint(string(data))
	if err != 0 {
		return 0, fuse.Status(err)
	}
	fs.module.SetOwner(parameters[in.NodeId-firstParameterID].name, id)
	return uint32(len(data)), fuse.OK
}

// As in sysfs, nobody makes, removes or renames anything: kernfs_dir_iops refuses
// it, or has no function for it, and then the VFS refuses it.

// Create refuses a new file: lookup_open, where there is no create.
func (fs *moduleFS) Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return fuse.EACCES
}

// Mknod is as Create.
func (fs *moduleFS) Mknod(<-chan struct{}, *fuse.MknodIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EACCES
}

// Mkdir refuses a new directory.
func (fs *moduleFS) Mkdir(<-chan struct{}, *fuse.MkdirIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Symlink refuses a new symbolic link.
func (fs *moduleFS) Symlink(<-chan struct{}, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Link refuses a new name.
func (fs *moduleFS) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Rename refuses a new name, and the name of another entry.
func (fs *moduleFS) Rename(<-chan struct{}, *fuse.RenameIn, string, string) fuse.Status {
	return fuse.EPERM
}

// Unlink refuses to remove a file.
func (fs *moduleFS) Unlink(<-chan struct{}, *fuse.InHeader, string) fuse.Status { return fuse.EPERM }

// Rmdir refuses to remove a directory.
func (fs *moduleFS) Rmdir(<-chan struct{}, *fuse.InHeader, string) fuse.Status { return fuse.EPERM }

// parseUint is kstrtouint with base 0: decimal, 0x and octal numbers, with a
// plus sign and a newline or without.
func parseUint(text string) (uint32, syscall.Errno) {
	text, _, _ = strings.Cut(text, "\x00")
	text = strings.TrimPrefix(strings.TrimSuffix(text, "\n"), "+")
	base := 10
	switch {
	case len(text) > 2 && text[0] == '0' && text[1]|0x20 == 'x':
		base, text = 16, text[2:]
	case len(text) > 1 && text[0] == '0':
		base = 8
	}
	n, err := strconv.ParseUint(text, base, 32)
	switch {
	case err == nil:
		return uint32(n), 0
	case errors.Is(err, strconv.ErrRange):
		return 0, unix.ERANGE
	}
	return 0, unix.EINVAL
}
