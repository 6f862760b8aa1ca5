package fs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fs"
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
	hour := valid
	return newMountpoint(dir, gofuse.NewNodeFS(&moduleRoot{module: &module}, &gofuse.Options{
		EntryTimeout: &hour,
		AttrTimeout:  &hour,
	}), nil)
}

type moduleRoot struct {
	moduleDir
	module *Module
}

// moduleDir is a directory as sysfs shows it.
type moduleDir struct{ gofuse.Inode }

func (*moduleDir) Getattr(_ context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	ownAttr(&out.Attr, unix.S_IFDIR, recent.Attr{Perms: 0o755})
	out.Nlink = 2
	return gofuse.OK
}

// OnAdd makes the tree, which never changes.
func (r *moduleRoot) OnAdd(ctx context.Context) {
	r.AddChild(SelfName, r.NewPersistentInode(ctx, &moduleSelf{module: r.module}, gofuse.StableAttr{Mode: unix.S_IFLNK}), false)
	dir := r.NewPersistentInode(ctx, &moduleDir{}, gofuse.StableAttr{Mode: unix.S_IFDIR})
	r.AddChild(parametersName, dir, false)
	for i := range parameters {
		file := r.NewPersistentInode(ctx, &parameter{module: r.module, index: i}, gofuse.StableAttr{Mode: unix.S_IFREG})
		dir.AddChild(parameters[i].name, file, false)
	}
}

// As in sysfs, nobody makes, removes or renames anything: kernfs_dir_iops refuses
// it, or has no function for it, and then the VFS refuses it.

// Create refuses a new file: lookup_open, where there is no create.
func (*moduleDir) Create(context.Context, string, uint32, uint32, *fuse.EntryOut) (*gofuse.Inode, gofuse.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, unix.EACCES
}

// Mknod is as Create.
func (*moduleDir) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*gofuse.Inode, syscall.Errno) {
	return nil, unix.EACCES
}

// Mkdir refuses a new directory.
func (*moduleDir) Mkdir(context.Context, string, uint32, *fuse.EntryOut) (*gofuse.Inode, syscall.Errno) {
	return nil, unix.EPERM
}

// Symlink refuses a new symbolic link.
func (*moduleDir) Symlink(context.Context, string, string, *fuse.EntryOut) (*gofuse.Inode, syscall.Errno) {
	return nil, unix.EPERM
}

// Link refuses a new name.
func (*moduleDir) Link(context.Context, gofuse.InodeEmbedder, string, *fuse.EntryOut) (*gofuse.Inode, syscall.Errno) {
	return nil, unix.EPERM
}

// Rename refuses a new name, and the name of another entry.
func (*moduleDir) Rename(context.Context, string, gofuse.InodeEmbedder, string, uint32) syscall.Errno {
	return unix.EPERM
}

// Unlink refuses to remove a file.
func (*moduleDir) Unlink(context.Context, string) syscall.Errno { return unix.EPERM }

// Rmdir refuses to remove a directory.
func (*moduleDir) Rmdir(context.Context, string) syscall.Errno { return unix.EPERM }

// moduleSelf is a link. It leads each process to its own tables.
type moduleSelf struct {
	gofuse.Inode
	module *Module
}

func (*moduleSelf) Getattr(_ context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	ownAttr(&out.Attr, unix.S_IFLNK, recent.Attr{Perms: 0o777})
	out.Nlink = 1
	return gofuse.OK
}

func (l *moduleSelf) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	pid := uint32(0)
	if caller, ok := fuse.FromContext(ctx); ok {
		pid = caller.Pid
	}
	return []byte(l.module.Self(pid)), gofuse.OK
}

// parameter is a file as sysfs shows it: module_attr_show, param_get_uint and
// param_set_uint of kernel/params.c.
type parameter struct {
	gofuse.Inode
	module *Module
	index  int
}

func (p *parameter) Getattr(_ context.Context, _ gofuse.FileHandle, out *fuse.AttrOut) syscall.Errno {
	ownAttr(&out.Attr, unix.S_IFREG, recent.Attr{Perms: parameters[p.index].perms})
	out.Size = 4096 // PAGE_SIZE, as of every attribute: sysfs_add_file_mode_ns
	out.Nlink = 1
	return gofuse.OK
}

// Setattr accepts a size, which has no effect. It refuses a mode and an owner.
func (p *parameter) Setattr(ctx context.Context, f gofuse.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	const owner = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID
	if in.Valid&owner != 0 {
		return unix.EPERM
	}
	return p.Getattr(ctx, f, out)
}

// Open follows kernfs_fop_open: not even root can open a file for writing that
// nobody may write.
func (p *parameter) Open(_ context.Context, flags uint32) (gofuse.FileHandle, uint32, syscall.Errno) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY && parameters[p.index].perms&0o222 == 0 {
		return nil, 0, unix.EACCES
	}
	return nil, fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH, gofuse.OK
}

func (p *parameter) Read(_ context.Context, _ gofuse.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	text := fmt.Appendf(nil, "%d\n", parameters[p.index].get(p.module.Params()))
	n := copy(dest, text[min(off, int64(len(text))):])
	return fuse.ReadResultData(dest[:n]), gofuse.OK
}

// Write takes the number at any position: sysfs_kf_write.
func (p *parameter) Write(_ context.Context, _ gofuse.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	id, err := parseUint(string(data))
	if err != gofuse.OK {
		return 0, err
	}
	p.module.SetOwner(parameters[p.index].name, id)
	return uint32(len(data)), gofuse.OK
}

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
		return uint32(n), gofuse.OK
	case errors.Is(err, strconv.ErrRange):
		return 0, unix.ERANGE
	}
	return 0, unix.EINVAL
}
