package fs

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// nameTrials are about attributes, names, and calls that procfs refuses.
var nameTrials = []trialCase{
	{name: "truncate", do: func(tr *trial) {
		fd := tr.open(rdwr | unix.O_TRUNC)
		tr.write(fd, two)
		for _, size := range []int64{0, 5, 1 << 30, 1<<31 - 1, 1 << 31, 1 << 62} {
			tr.add("ftruncate", "ok", unix.Ftruncate(fd, size))
		}
		tr.add("truncate", "ok", unix.Truncate(tr.dir+"/foo", 0))
		tr.add("truncate", "ok", unix.Truncate(tr.dir+"/foo", -1))
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		tr.add("size", st.Size, err)
	}},
	{name: "attributes", do: func(tr *trial) {
		tr.write(tr.open(wr), two)
		for _, name := range []string{".", "foo"} {
			var st unix.Stat_t
			err := unix.Stat(tr.dir+"/"+name, &st)
			tr.add(name, fmt.Sprint(st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Blocks), err)
		}
	}},
	{name: "attributes of the file system", do: func(tr *trial) {
		var st unix.Statfs_t
		err := unix.Statfs(tr.dir+"/foo", &st)
		tr.add("statfs", fmt.Sprint(st.Bsize, st.Frsize, st.Namelen, st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree), err)
	}},
	{name: "block size", do: func(tr *trial) {
		var st unix.Stat_t
		err := unix.Stat(tr.dir+"/foo", &st)
		tr.add("blksize", st.Blksize, err)
	}, differs: "larger by choice: each read is a round trip"},
	{name: "chmod, chown, utimes", do: func(tr *trial) {
		foo := tr.dir + "/foo"
		for _, mode := range []uint32{0o600, 0o7777, 0} {
			tr.add("chmod", "ok", unix.Chmod(foo, mode))
			tr.sh(0, "stat -c '%a %U:%G' foo")
		}
		tr.add("chown", "ok", unix.Chown(foo, 1, 2))
		tr.add("chown", "ok", unix.Chown(foo, -1, 3))
		fd := tr.open(rdwr) // in procfs a descriptor keeps the attributes that it began with
		tr.add("fchmod", "ok", unix.Fchmod(fd, 0o640))
		tr.sh(0, "stat -c '%a %u:%g' foo")
		tr.add("fchown", "ok", unix.Fchown(fd, 0, 0))
		tr.add("fchmod", "ok", unix.Fchmod(fd, 0o644))
		tr.sh(0, "touch -d @0 foo; stat -c '%a %u:%g' foo")
		tr.sh(0, "chmod 700 . && chown 1:2 . && stat -c '%a %u:%g' .; chmod 555 . && chown 0:0 .; stat -c '%a %u:%g' .")
	}},
	{name: "times do not stay set", do: func(tr *trial) {
		fd := tr.open(rdwr)
		times := []unix.Timespec{{Sec: 5}, {Sec: 6}}
		tr.add("utimes", "ok", unix.UtimesNanoAt(unix.AT_FDCWD, tr.dir+"/foo", times, 0))
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		tr.add("mtime", st.Mtim.Sec == 6, err)
	}},
	{name: "as another user", do: func(tr *trial) {
		tr.sh(65534, "cat foo; echo +1.2.3.4 > foo; echo +1.2.3.4 >> foo")
		tr.sh(65534, "test -e foo && test -r foo && ! test -w foo && ! test -x foo && echo right")
		tr.sh(65534, "chmod 666 foo; chown 65534 foo; touch foo; truncate -s 0 foo; rm -f foo; rmdir foo")
		tr.sh(0, "chmod 622 foo")
		tr.sh(65534, "echo +1.2.3.4 > foo; cat foo")
		tr.sh(0, "chmod 600 foo; chown 65534 foo")
		tr.sh(65534, "echo +1.2.3.5 > foo; chmod 640 foo; stat -c %a foo; cat foo | wc -l")
		tr.sh(0, "chmod 644 foo; chown 0 foo")
	}},
	{name: "as another user, a new name", do: func(tr *trial) {
		tr.sh(65534, "echo +1.2.3.4 > new; mkdir new")
	}, differs: "EACCES instead of ENOENT: FUSE has the directory's permissions looked at first"},
	{name: "names", do: func(tr *trial) {
		at := func(name string) string { return tr.dir + "/" + name }
		for _, name := range []string{"new", "foo", strings.Repeat("n", 255), strings.Repeat("n", 300)} {
			_, err := unix.Open(at(name), wr|unix.O_CREAT|unix.O_EXCL, 0o644)
			tr.add("create", "ok", err)
			tr.add("mkdir", "ok", unix.Mkdir(at(name), 0o755))
			tr.add("mknod", "ok", unix.Mknod(at(name), unix.S_IFIFO|0o644, 0))
			tr.add("symlink", "ok", unix.Symlink("x", at(name)))
			tr.add("link", "ok", unix.Link(at("bar"), at(name)))
			tr.add("rename", "ok", unix.Rename(at("bar"), at(name)))
			tr.add("rename", "ok", unix.Rename(at(name), at("bar")))
			tr.add("rmdir", "ok", unix.Rmdir(at(name)))
			tr.add("unlink", "ok", unix.Unlink(at(name)))
			tr.add("stat", "ok", unix.Stat(at(name), &unix.Stat_t{}))
		}
	}},
	{name: "listing", do: func(tr *trial) {
		tr.sh(0, "ls -a; ls -l | cut -c1-20; test -e foo; echo $?; test -s foo; echo $?; test -e new; echo $?")
	}},
	{name: "odd opens", do: func(tr *trial) {
		tr.open(rdwr | unix.O_DIRECT)
		tr.open(rdwr | unix.O_DIRECTORY)
		tr.open(rdwr | unix.O_NONBLOCK | unix.O_SYNC)
		_, err := unix.Open(tr.dir, unix.O_TMPFILE|rdwr, 0o600)
		tr.add("tmpfile", "ok", err)
		_, err = unix.Open(tr.dir, rdwr, 0)
		tr.add("directory", "ok", err)
	}},
	{name: "odd calls", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.add("fsync", "ok", unix.Fsync(fd))
		tr.add("fdatasync", "ok", unix.Fdatasync(fd))
		tr.add("fallocate", "ok", unix.Fallocate(fd, 0, 0, 10))
		tr.seek(fd, -1, unix.SEEK_SET)
		tr.seek(fd, 0, unix.SEEK_DATA)
		tr.seek(fd, 0, unix.SEEK_HOLE)
		_, err := unix.IoctlGetInt(fd, unix.TCGETS)
		tr.add("ioctl", "ok", err)
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
		n, err := unix.Poll(poll, 0)
		tr.add("poll", fmt.Sprint(n, poll[0].Revents), err)
		tr.add("flock", "ok", unix.Flock(fd, unix.LOCK_EX))
		_, err = unix.Fgetxattr(fd, "user.x", nil)
		tr.add("getxattr", "ok", err)
		tr.add("setxattr", "ok", unix.Fsetxattr(fd, "user.x", []byte("x"), 0))
		dir, err := unix.Open(tr.dir, unix.O_RDONLY, 0)
		tr.add("open", "ok", err)
		tr.add("fsync", "ok", unix.Fsync(dir))
		unix.Close(dir)
	}},
	{name: "seek from the end", do: func(tr *trial) {
		tr.seek(tr.open(rdwr), 0, unix.SEEK_END)
	}, differs: "seq_lseek refuses it, the kernel's FUSE does it from size 0 by itself"},
	{name: "tee -a", do: func(tr *trial) {
		tr.sh(0, "echo +1.2.3.4 | tee -a foo")
	}, differs: "it seeks to the end, which procfs refuses"},
	{name: "list extended attributes", do: func(tr *trial) {
		n, err := unix.Listxattr(tr.dir+"/foo", nil)
		tr.add("listxattr", n, err)
	}, differs: "procfs has an empty list; here there is none, which costs no request"},
	{name: "memory map", do: func(tr *trial) {
		_, err := unix.Mmap(tr.open(rdwr), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		tr.add("mmap", "ok", err)
	}, differs: "EIO of procfs, ENODEV of FUSE"},
	{name: "shells", do: func(tr *trial) {
		tr.sh(0, "echo +1.2.3.4 > foo; echo +1.2.3.5 >> foo; echo +1.2.3.6 | tee foo")
		tr.sh(0, "printf -- -1.2.3.4 > foo; { echo +1.1.1.1; echo +2.2.2.2; } > foo; { echo /; echo +3.3.3.3; } > foo")
		tr.sh(0, "echo +4.4.4.4 | dd of=foo status=none; echo +5.5.5.5 | dd of=foo bs=1M conv=notrunc status=none")
		tr.sh(0, "dd if=/dev/zero of=foo bs=1M count=1 status=none; echo hello > foo")
		tr.sh(0, "exec 3<>foo; echo +6.6.6.6 >&3; echo +7.7.7.7 >&3")
		tr.sh(0, "cat foo | wc -l; wc -l < foo; grep -c src foo; dd if=foo bs=7 status=none | wc -l; tail -n1 foo | wc -l")
	}},
}
