package live

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var callCases = []fileCase{
	{name: "writes through a descriptor for reading", do: func(tr *fileTrial) {
		fd := tr.open("foo", unix.O_RDONLY)
		tr.write(fd, "+1.2.3.4")
		tr.add("ftruncate", "ok", unix.Ftruncate(fd, 0))
		tr.read(tr.open("foo", unix.O_WRONLY), 10)
		path := tr.open("foo", unix.O_PATH)
		tr.read(path, 10)
		tr.write(path, "/")
		tr.add("fchmod", "ok", unix.Fchmod(path, 0o600))
		tr.add("fstat", "ok", unix.Fstat(path, &unix.Stat_t{}))
		tr.add("reopen", "ok", func() error {
			fd, err := unix.Open(fmt.Sprintf("/proc/thread-self/fd/%d", path), unix.O_RDWR, 0)
			unix.Close(fd)
			return err
		}())
	}},
	{name: "allocation and synchronising", do: func(tr *fileTrial) {
		fd := tr.foo()
		for mode := range uint32(1 << 7) {
			tr.add(fmt.Sprint("fallocate ", mode), "ok", unix.Fallocate(fd, mode, 0, 100))
		}
		for _, size := range []int64{0, 1, 1 << 40, -1} {
			tr.add("ftruncate", "ok", unix.Ftruncate(fd, size))
		}
		tr.add("sync_file_range", "ok", unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE))
		for advice := range 7 {
			tr.add(fmt.Sprint("fadvise ", advice), "ok", unix.Fadvise(fd, 0, 0, advice))
		}
		_, _, errno := unix.Syscall(unix.SYS_READAHEAD, uintptr(fd), 0, 4096)
		tr.add("readahead", errno, nil)
	}},
	{name: "syncfs", do: func(tr *fileTrial) { tr.add("syncfs", "ok", unix.Syncfs(tr.foo())) }},
	{name: "poll, select, epoll", do: func(tr *fileTrial) {
		for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR} {
			fd := tr.open("foo", flags|unix.O_NONBLOCK)
			p := []unix.PollFd{{Fd: int32(fd), Events: -1}}
			n, err := unix.Poll(p, 0)
			tr.add("poll", fmt.Sprint(n, p[0].Revents), err)
			var r, w, e unix.FdSet
			r.Set(fd)
			w.Set(fd)
			e.Set(fd)
			n, err = unix.Select(fd+1, &r, &w, &e, &unix.Timeval{})
			tr.add("select", fmt.Sprint(n, r.IsSet(fd), w.IsSet(fd), e.IsSet(fd)), err)
			ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			tr.add("epoll", "ok", err)
			tr.fds = append(tr.fds, ep)
			tr.add("epoll_ctl", "ok", unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI}))
			events := make([]unix.EpollEvent, 4)
			n, err = unix.EpollWait(ep, events, 0)
			tr.add("epoll_wait", fmt.Sprint(n, events[0].Events), err)
		}
	}},
	{name: "memory map", do: func(tr *fileTrial) {
		for _, flags := range []int{unix.MAP_SHARED, unix.MAP_PRIVATE} {
			b, err := unix.Mmap(tr.foo(), 0, 4096, unix.PROT_READ, flags)
			tr.add("mmap", "ok", err)
			if err == nil {
				unix.Munmap(b)
			}
		}
	}, differs: "procfs says EIO. FUSE says ENODEV for a shared map, and makes an empty private one"},
	{name: "sendfile, splice, copy_file_range", do: func(tr *fileTrial) {
		tr.put(10, 11)
		var pipe [2]int
		tr.add("pipe", "ok", unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
		tr.fds = append(tr.fds, pipe[0], pipe[1])
		n, err := unix.Sendfile(tr.temp(), tr.foo(), nil, 4096)
		tr.add("sendfile from", n, err)
		m, err := unix.Splice(tr.foo(), nil, pipe[1], nil, 4096, unix.SPLICE_F_NONBLOCK)
		tr.add("splice from", m, err)
		n, err = unix.CopyFileRange(tr.foo(), nil, tr.temp(), nil, 4096, 0)
		tr.add("copy_file_range from", n, err)
		fd := tr.foo()
		var st unix.Stat_t
		tr.add("fstat", st.Size, unix.Fstat(fd, &st))
		n, err = unix.Sendfile(tr.temp(), fd, nil, 4096)
		tr.add("sendfile after fstat", n, err)
	}},
	{name: "sendfile and splice into a table", do: func(tr *fileTrial) {
		source := tr.temp()
		tr.write(source, "+1.2.3.4")
		unix.Seek(source, 0, unix.SEEK_SET)
		n, err := unix.Sendfile(tr.foo(), source, nil, 4096)
		tr.add("sendfile to", n, err)
		var pipe [2]int
		tr.add("pipe", "ok", unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
		tr.fds = append(tr.fds, pipe[0], pipe[1])
		tr.write(pipe[1], "+1.2.3.5")
		m, err := unix.Splice(pipe[0], nil, tr.foo(), nil, 4096, 0)
		tr.add("splice to", m, err)
	}, differs: "the kernel needs write_iter for it, which procfs lacks and FUSE has"},
	{name: "tee and vmsplice", do: func(tr *fileTrial) {
		var pipe [2]int
		tr.add("pipe", "ok", unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
		tr.fds = append(tr.fds, pipe[0], pipe[1])
		tr.write(pipe[1], "+1.2.3.4")
		n, err := unix.Tee(pipe[0], tr.foo(), 10, 0)
		tr.add("tee to", n, err)
		n, err = unix.Tee(tr.foo(), pipe[1], 10, 0)
		tr.add("tee from", n, err)
		m, err := unix.Vmsplice(tr.foo(), []unix.Iovec{{}}, 0)
		tr.add("vmsplice", m, err)
	}},
	{name: "copy_file_range between tables", do: func(tr *fileTrial) {
		n, err := unix.CopyFileRange(tr.foo(), nil, tr.open("bar", unix.O_RDWR), nil, 4096, 0)
		tr.add("copy_file_range", n, err)
	}, differs: "the kernel finds nothing to copy in a file of size 0. Here it believes in a size, as for sendfile, and the read is refused"},
	{name: "flags of an open file", do: func(tr *fileTrial) {
		fd := tr.foo()
		for _, flags := range []int{unix.O_APPEND, unix.O_NONBLOCK, unix.O_NOATIME, unix.O_ASYNC, unix.O_SYNC, 0} {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
			got, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			tr.add(fmt.Sprintf("fcntl %#x", flags), fmt.Sprintf("%#x", got), err)
		}
	}},
	{name: "O_DIRECT on an open file", do: func(tr *fileTrial) {
		fd := tr.foo()
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_DIRECT)
		tr.add("fcntl", "ok", err)
		tr.write(fd, "+1.2.3.4")
	}, differs: "FUSE can do direct I/O, and is not asked whether it wants to"},
	{name: "file handles and blocks", do: func(tr *fileTrial) {
		_, _, err := unix.NameToHandleAt(unix.AT_FDCWD, tr.path("foo"), 0)
		tr.add("name_to_handle_at", "ok", err)
		var block int32
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(tr.foo()), 1 /* FIBMAP */, uintptr(unsafe.Pointer(&block)))
		tr.add("ioctl FIBMAP", errno, nil)
	}, differs: "FUSE answers for us"},
	{name: "extended attributes", do: func(tr *fileTrial) {
		for _, file := range []string{"foo", ".", "new"} {
			path := tr.path(file)
			for _, name := range []string{"user.x", "trusted.x", "security.x", "security.selinux", "security.capability", "system.x", "x", "", "user."} {
				_, err := unix.Getxattr(path, name, make([]byte, 10))
				tr.add(file+" getxattr "+name, "ok", err)
				tr.add(file+" setxattr "+name, "ok", unix.Setxattr(path, name, []byte("x"), 0))
				tr.add(file+" removexattr "+name, "ok", unix.Removexattr(path, name))
			}
		}
	}},
	{name: "access control lists", do: func(tr *fileTrial) {
		path := tr.path("foo")
		tr.add("setxattr", "ok", unix.Setxattr(path, "system.posix_acl_access", []byte("x"), 0))
		_, err := unix.Getxattr(path, "system.posix_acl_access", make([]byte, 10))
		tr.add("getxattr", "ok", err)
		tr.add("removexattr", "ok", unix.Removexattr(path, "system.posix_acl_default"))
	}, differs: "ENODATA instead of EOPNOTSUPP: the kernel does not ask a FUSE mount without extended attributes"},
	{name: "list of extended attributes", do: func(tr *fileTrial) {
		n, err := unix.Listxattr(tr.path("foo"), make([]byte, 100))
		tr.add("listxattr", n, err)
	}, differs: "procfs has an empty list. Here there is none, which saves a request"},
	{name: "locks", do: func(tr *fileTrial) {
		for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR} {
			fd := tr.open("foo", flags)
			for _, how := range []int{unix.LOCK_SH, unix.LOCK_EX, unix.LOCK_UN} {
				tr.add("flock", "ok", unix.Flock(fd, how|unix.LOCK_NB))
			}
			for _, set := range []int{unix.F_SETLK, unix.F_OFD_SETLK} {
				for _, kind := range []int16{unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK} {
					lock := unix.Flock_t{Type: kind, Start: 5, Len: 10}
					tr.add(fmt.Sprint("fcntl ", set, kind), "ok", unix.FcntlFlock(uintptr(fd), set, &lock))
					lock = unix.Flock_t{Type: unix.F_WRLCK}
					err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock)
					tr.add("getlk", fmt.Sprint(lock.Type, lock.Start, lock.Len), err)
				}
			}
		}
	}},
	{name: "locks of two open files", do: func(tr *fileTrial) {
		tr.add("flock", "ok", unix.Flock(tr.foo(), unix.LOCK_EX|unix.LOCK_NB))
		tr.add("flock", "ok", unix.Flock(tr.foo(), unix.LOCK_EX|unix.LOCK_NB))
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		tr.add("fcntl", "ok", unix.FcntlFlock(uintptr(tr.foo()), unix.F_OFD_SETLK, &lock))
		tr.add("fcntl", "ok", unix.FcntlFlock(uintptr(tr.foo()), unix.F_OFD_SETLK, &lock))
	}, differs: "in /proc/net each open file has an inode of its own (proc_net_d_revalidate), so its locks exclude nobody; here they do"},
	{name: "leases", do: func(tr *fileTrial) {
		fd := tr.open("foo", unix.O_RDONLY)
		for _, kind := range []int{unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK} {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, kind)
			tr.add(fmt.Sprint("lease ", kind), "ok", err)
			n, err := unix.FcntlInt(uintptr(fd), unix.F_GETLEASE, 0)
			tr.add("lease", n, err)
		}
	}},
	{name: "other calls", do: func(tr *fileTrial) {
		fd := tr.foo()
		for _, request := range []uint{unix.TCGETS, unix.TIOCINQ, unix.FS_IOC_GETFLAGS, unix.BLKGETSIZE64, 0} {
			var value int64
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&value)))
			tr.add(fmt.Sprintf("ioctl %#x", request), errno, nil)
		}
		tr.add("fchdir", "ok", unix.Fchdir(fd))
		tr.add("chroot", "ok", unix.Chroot(tr.path("foo")))
		_, _, errno := syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(&append([]byte(tr.path("foo")), 0)[0])), 0, 0)
		tr.add("execve", errno, nil)
	}},
	{name: "set times", do: func(tr *fileTrial) {
		for _, times := range [][]unix.Timespec{{{Sec: 1}, {Sec: 2}}, {{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}, {{Nsec: -1}, {}}, {{Sec: -5}, {Sec: 1 << 40}}} {
			tr.add("utimensat", "ok", unix.UtimesNanoAt(unix.AT_FDCWD, tr.path("foo"), times, 0))
		}
		tr.add("utimensat", "ok", unix.UtimesNanoAt(unix.AT_FDCWD, tr.path("new"), []unix.Timespec{{}, {}}, 0))
	}},
	{name: "notices of changes", do: func(tr *fileTrial) {
		in, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		tr.add("inotify", "ok", err)
		tr.fds = append(tr.fds, in)
		fd := tr.foo()
		_, err = unix.InotifyAddWatch(in, fmt.Sprintf("/proc/thread-self/fd/%d", fd), unix.IN_ALL_EVENTS)
		tr.add("watch", "ok", err)
		tr.write(fd, "+1.2.3.4")
		tr.read(fd, 10)
		b := make([]byte, 4096)
		n, err := unix.Read(in, b)
		tr.add("events", n, err)
	}},
	{name: "notices of changes by others", do: func(tr *fileTrial) {
		in, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		tr.add("inotify", "ok", err)
		tr.fds = append(tr.fds, in)
		for _, name := range []string{"foo", "."} {
			_, err = unix.InotifyAddWatch(in, tr.path(name), unix.IN_MODIFY)
			tr.add("watch", "ok", err)
		}
		tr.write(tr.foo(), "+1.2.3.4")
		n, err := unix.Read(in, make([]byte, 4096))
		tr.add("events", n, err)
	}, differs: "in /proc/net each open file has an inode of its own, so that a watch sees only its own"},
}
