package live

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openFlags are the flags of open(2), without the access mode.
var openFlags = []struct {
	name string
	bits int
}{
	{"CREAT", unix.O_CREAT}, {"EXCL", unix.O_EXCL}, {"TRUNC", unix.O_TRUNC}, {"APPEND", unix.O_APPEND},
	{"DIRECTORY", unix.O_DIRECTORY}, {"NOFOLLOW", unix.O_NOFOLLOW}, {"NONBLOCK", unix.O_NONBLOCK},
	{"SYNC", unix.O_SYNC}, {"DIRECT", unix.O_DIRECT}, {"PATH", unix.O_PATH}, {"TMPFILE", unix.O_TMPFILE},
	{"NOATIME", unix.O_NOATIME},
}

// everyOpen opens a name with every combination of flags.
func everyOpen(tr *fileTrial, name string) {
	for set := range 4 << len(openFlags) {
		flags, words := set&3, []string{fmt.Sprint(set & 3)}
		for i, f := range openFlags {
			if set>>2&(1<<i) != 0 {
				flags, words = flags|f.bits, append(words, f.name)
			}
		}
		fd, err := unix.Open(tr.path(name), flags|unix.O_CLOEXEC, 0o600)
		status := 0
		if err == nil {
			status, _ = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			unix.Close(fd)
		}
		tr.add(name+" "+strings.Join(words, "|"), fmt.Sprintf("%#x", status), err)
	}
}

var openCases = []fileCase{
	{name: "open with every flag", do: func(tr *fileTrial) {
		tr.put(10, 11)
		everyOpen(tr, "foo")
	}},
	{name: "open of a name that is not there", do: func(tr *fileTrial) { everyOpen(tr, "new") }},
	{name: "open of the directory", do: func(tr *fileTrial) { everyOpen(tr, ".") }},
	{name: "open of a file as a directory", do: func(tr *fileTrial) { everyOpen(tr, "foo/") }},
	{name: "open as other users", do: func(tr *fileTrial) {
		for _, mode := range []uint32{0, 0o644, 0o600, 0o640, 0o604, 0o222, 0o466, 0o777, 0o4755} {
			for _, owner := range [][2]int{{0, 0}, {1000, 0}, {0, 1000}, {1000, 1000}} {
				tr.add("chown", "ok", unix.Chown(tr.path("foo"), owner[0], owner[1]))
				tr.add("chmod", "ok", unix.Chmod(tr.path("foo"), mode))
				for _, user := range [][2]uintptr{{1000, 1000}, {1000, 2000}, {2000, 1000}, {2000, 2000}} {
					tr.as(user[0], user[1], func() {
						for _, flags := range []int{0, 1, 2, 3, unix.O_TRUNC, 1 | unix.O_TRUNC | unix.O_CREAT, 2 | unix.O_CREAT, unix.O_PATH, unix.O_NOATIME} {
							fd, err := unix.Open(tr.path("foo"), flags|unix.O_CLOEXEC, 0o644)
							tr.add(fmt.Sprintf("%#o of %v: %v opens %#x", mode, owner, user, flags), "ok", err)
							if err == nil {
								unix.Close(fd)
							}
						}
						tr.add("access", "ok", unix.Faccessat(unix.AT_FDCWD, tr.path("foo"), unix.R_OK, unix.AT_EACCESS))
						tr.add("access", "ok", unix.Faccessat(unix.AT_FDCWD, tr.path("foo"), unix.W_OK, unix.AT_EACCESS))
						tr.add("access", "ok", unix.Faccessat(unix.AT_FDCWD, tr.path("foo"), unix.X_OK, unix.AT_EACCESS))
						tr.add("truncate", "ok", unix.Truncate(tr.path("foo"), 0))
						tr.add("utimes", "ok", unix.UtimesNano(tr.path("foo"), []unix.Timespec{{}, {}}))
						tr.add("touch", "ok", unix.UtimesNano(tr.path("foo"), nil))
					})
				}
			}
		}
	}},
	{name: "chmod and chown as other users", do: func(tr *fileTrial) {
		show := func() {
			var st unix.Stat_t
			err := unix.Stat(tr.path("foo"), &st)
			tr.add("stat", fmt.Sprintf("%#o %d %d", st.Mode, st.Uid, st.Gid), err)
		}
		for _, owner := range []int{0, 1000} {
			for _, mode := range []uint32{0o666, 0o2755, 0o4755, 0o7777} {
				tr.add("chown", "ok", unix.Chown(tr.path("foo"), owner, 1000))
				tr.as(1000, 2000, func() {
					tr.add("chmod", "ok", unix.Chmod(tr.path("foo"), mode))
					show()
					tr.add("chown", "ok", unix.Chown(tr.path("foo"), -1, 2000))
					show()
					tr.add("chown", "ok", unix.Chown(tr.path("foo"), 2000, -1))
					tr.add("chown", "ok", unix.Chown(tr.path("foo"), -1, -1))
					show()
				})
				// Elsewhere a write by another user clears the setuid bit.
				tr.add("chmod", "ok", unix.Chmod(tr.path("foo"), mode|0o6016))
				tr.as(3000, 3000, func() {
					tr.write(tr.open("foo", unix.O_WRONLY), "+1.2.3.4")
					show()
				})
				tr.add("chown", "ok", unix.Chown(tr.path("foo"), 0, 0))
				show()
			}
		}
	}},
	{name: "a truncation takes the setuid bit away", do: func(tr *fileTrial) {
		tr.add("chmod", "ok", unix.Chmod(tr.path("foo"), 0o4666))
		tr.as(3000, 3000, func() { tr.open("foo", unix.O_WRONLY|unix.O_TRUNC) })
		var st unix.Stat_t
		err := unix.Stat(tr.path("foo"), &st)
		tr.add("stat", fmt.Sprintf("%#o", st.Mode), err)
	}, differs: "FUSE leaves it to the open request, which does not say who may keep the bit (FUSE_ATOMIC_O_TRUNC)"},
	{name: "a stranger's chown to nobody of a setgid file", do: func(tr *fileTrial) {
		tr.add("chmod", "ok", unix.Chmod(tr.path("foo"), 0o2666))
		tr.as(3000, 3000, func() { tr.add("chown", "ok", unix.Chown(tr.path("foo"), -1, -1)) })
		tr.sh(0, "setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps -all,+chown --ambient-caps +chown chown 5 foo; stat -c '%a %u' foo")
	}, differs: "FUSE leaves the bit alone without group execution (fuse_setattr), so that there is nothing to refuse"},
	{name: "a descriptor outlives the rights that opened it", do: func(tr *fileTrial) {
		tr.as(1000, 1000, func() {
			fd := tr.open("foo", unix.O_RDONLY)
			tr.write(fd, "+1.2.3.4")
		})
		tr.add("chmod", "ok", unix.Chmod(tr.path("foo"), 0o666))
		tr.as(1000, 1000, func() { tr.foo() })
		tr.add("chmod", "ok", unix.Chmod(tr.path("foo"), 0))
		tr.as(1000, 1000, func() {
			tr.write(tr.fds[1], "+1.2.3.4")
			tr.foo()
		})
	}},
	{name: "attributes", do: func(tr *fileTrial) {
		tr.put(10, 20)
		for _, name := range []string{".", "foo"} {
			var st unix.Stat_t
			err := unix.Lstat(tr.path(name), &st)
			tr.add(name, fmt.Sprintf("%#o %d %d %d %d %d %d", st.Mode, st.Nlink, st.Uid, st.Gid, st.Rdev, st.Size, st.Blocks), err)
			tr.add(name+" times", st.Atim == st.Mtim && st.Mtim == st.Ctim && time.Since(time.Unix(st.Mtim.Unix())) < time.Hour, nil)
			var sx unix.Statx_t
			err = unix.Statx(unix.AT_FDCWD, tr.path(name), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &sx)
			tr.add(name, fmt.Sprintf("%#o %d %d %#x", sx.Mode, sx.Nlink, sx.Size, sx.Mask&unix.STATX_BASIC_STATS), err)
		}
	}},
	{name: "times are those of each stat", do: func(tr *fileTrial) {
		// Ours may still be closing a file that an earlier trial read. Until then
		// the kernel caches no attributes: hence several rounds.
		var err error
		fresh := true
		for i := 0; fresh && i < 50; i++ {
			var st unix.Stat_t
			var first, now unix.Timespec
			err = unix.Stat(tr.path("foo"), &st)
			unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &first)
			for now = first; now == first; { // one tick of the clock
				unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now)
			}
			if err == nil {
				err = unix.Stat(tr.path("foo"), &st)
			}
			fresh = err == nil && st.Mtim.Nano() >= now.Nano()
		}
		tr.add("times are now's", fresh, err)
	}, differs: "they are when the table was made: FUSE asks for them again after each read, and tar would warn of a file that changed"},
	{name: "listing", do: func(tr *fileTrial) {
		fd := tr.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
		for _, size := range []int{10, 24, 30, 4096, 4096} {
			buf := make([]byte, size)
			n, err := unix.Getdents(fd, buf)
			_, _, names := unix.ParseDirent(buf[:max(n, 0)], -1, nil)
			slices.Sort(names)
			tr.add(fmt.Sprint("getdents ", size), names, err)
		}
		tr.seek(fd, 0, unix.SEEK_SET)
		buf := make([]byte, 4096)
		n, err := unix.Getdents(fd, buf)
		kinds := make(map[string]string)
		for b := buf[:max(n, 0)]; len(b) > 0; b = b[(*unix.Dirent)(unsafe.Pointer(&b[0])).Reclen:] {
			d := (*unix.Dirent)(unsafe.Pointer(&b[0]))
			name := unix.ByteSliceToString(b[19:d.Reclen])
			var st unix.Stat_t
			err := unix.Stat(tr.path(name), &st)
			kinds[name] = fmt.Sprint(d.Type, name == ".." || d.Ino == st.Ino, err)
		}
		tr.add("kinds", kinds, nil)
		tr.add("getdents", n, err)
		_, err = unix.Read(fd, buf)
		tr.add("read of a directory", "ok", err)
		_, err = unix.Getdents(tr.foo(), buf)
		tr.add("getdents of a file", "ok", err)
	}},
	{name: "order of a listing", do: func(tr *fileTrial) {
		buf := make([]byte, 4096)
		n, err := unix.Getdents(tr.open(".", unix.O_RDONLY|unix.O_DIRECTORY), buf)
		_, _, names := unix.ParseDirent(buf[:max(n, 0)], -1, nil)
		tr.add("names", names, err)
	}, differs: "procfs lists shorter names first; here a table that came later is listed later, so that a position is the table's own"},
	{name: "names in the directory", do: func(tr *fileTrial) {
		outside := tr.scratch + "/file"
		tr.add("mknod outside", "ok", unix.Mknod(outside, unix.S_IFREG|0o600, 0))
		defer unix.Unlink(outside)
		for _, name := range []string{"foo", "new", ".", "foo/x", strings.Repeat("n", 256)} {
			at := tr.path(name)
			for _, flags := range []uint{0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_WHITEOUT} {
				tr.add(fmt.Sprintf("rename %q %d", name, flags), "ok", unix.Renameat2(unix.AT_FDCWD, tr.path("bar"), unix.AT_FDCWD, at, flags))
				tr.add(fmt.Sprintf("rename of %q %d", name, flags), "ok", unix.Renameat2(unix.AT_FDCWD, at, unix.AT_FDCWD, tr.path("bar"), flags))
			}
			tr.add(fmt.Sprintf("rename %q in", name), "ok", unix.Rename(outside, at))
			tr.add(fmt.Sprintf("rename %q out", name), "ok", unix.Rename(at, outside))
			tr.add(fmt.Sprintf("link %q out", name), "ok", unix.Link(at, outside+"2"))
			for _, mode := range []uint32{unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFDIR} {
				tr.add(fmt.Sprintf("mknod %q %#o", name, mode), "ok", unix.Mknod(at, mode|0o600, 0))
			}
			tr.add(fmt.Sprintf("mkdir %q", name), "ok", unix.Mkdir(at, 0o700))
			tr.add(fmt.Sprintf("symlink %q", name), "ok", unix.Symlink("foo", at))
			tr.add(fmt.Sprintf("unlink %q", name), "ok", unix.Unlink(at))
			tr.add(fmt.Sprintf("rmdir %q", name), "ok", unix.Rmdir(at))
			_, err := unix.Readlink(at, make([]byte, 10))
			tr.add(fmt.Sprintf("readlink %q", name), "ok", err)
			tr.add(fmt.Sprintf("access %q", name), "ok", unix.Access(at, unix.F_OK))
			tr.add(fmt.Sprintf("statfs %q", name), "ok", unix.Statfs(at, &unix.Statfs_t{}))
		}
	}},
	{name: "a new name for a file from elsewhere", do: func(tr *fileTrial) {
		outside := tr.scratch + "/file"
		tr.add("mknod outside", "ok", unix.Mknod(outside, unix.S_IFREG|0o600, 0))
		defer unix.Unlink(outside)
		tr.add("link", "ok", unix.Link(outside, tr.path("new")))
	}, differs: "EXDEV instead of ENOENT: procfs refuses the name at the lookup, which FUSE cannot"},
	{name: "the directory's own name", do: func(tr *fileTrial) {
		tr.add("rmdir", "ok", unix.Rmdir(tr.dir))
		tr.add("rename", "ok", unix.Rename(tr.dir, tr.dir+"2"))
	}, differs: "it is a mount point: EBUSY"},
	{name: "far positions in the directory", do: func(tr *fileTrial) {
		tr.seek(tr.open(".", unix.O_RDONLY|unix.O_DIRECTORY), 1<<40, unix.SEEK_SET)
	}, differs: "FUSE takes every position, procfs those up to its s_maxbytes"},
	{name: "changes of the directory itself", do: func(tr *fileTrial) {
		tr.add("truncate", "ok", unix.Truncate(tr.dir, 0))
		tr.add("chmod", "ok", unix.Chmod(tr.dir, 0o700))
		tr.as(1000, 1000, func() {
			tr.foo()
			tr.add("chmod", "ok", unix.Chmod(tr.dir, 0o777))
			tr.add("touch", "ok", unix.UtimesNano(tr.dir, nil))
		})
		tr.add("chmod", "ok", unix.Chmod(tr.dir, 0o555))
		tr.as(1000, 1000, func() { tr.open("foo", unix.O_RDONLY) })
	}},
	{name: "a bad address", do: func(tr *fileTrial) {
		tr.put(10, 11)
		fd := tr.foo()
		for _, c := range []struct {
			name string
			call uintptr
			size uintptr
		}{{"read", unix.SYS_READ, 10}, {"read", unix.SYS_READ, 0}, {"write", unix.SYS_WRITE, 10}, {"write", unix.SYS_WRITE, 0}} {
			n, _, errno := syscall.RawSyscall(c.call, uintptr(fd), 8, c.size)
			var err error
			if errno != 0 {
				err = errno
			}
			tr.add(fmt.Sprint(c.name, c.size), n, err)
		}
		tr.read(fd, 5)
	}},
}
