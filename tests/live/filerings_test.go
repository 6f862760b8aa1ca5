package live

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// ring makes an io_uring, which ends with the trial.
func (tr *fileTrial) ring(flags uint32) *lab.Ring {
	r, err := lab.NewRing(flags)
	if err != nil {
		panic(err)
	}
	tr.rings = append(tr.rings, r)
	return r
}

// ringFoo opens the table by a ring.
func (tr *fileTrial) ringFoo(r *lab.Ring) int {
	fd, err := r.Open(tr.path("foo"))
	tr.add("open foo by the ring", "ok", err)
	tr.fds = append(tr.fds, fd)
	return fd
}

func (tr *fileTrial) ringRead(r *lab.Ring, fd, size int, off int64) int {
	b := make([]byte, size)
	n, err := r.Read(fd, b, off)
	tr.bytes(fmt.Sprintf("read %d at %d", size, off), b, n, err)
	return n
}

// ringTotal reads to the end and notes how much that was and what, without the
// lengths of the reads.
func (tr *fileTrial) ringTotal(r *lab.Ring, fd, size int, offset func(done int) int64) {
	var text []byte
	for b := make([]byte, size); len(text) < 1<<20; {
		n, err := r.Read(fd, b, offset(len(text)))
		if text = append(text, b[:n]...); n == 0 {
			tr.bytes(fmt.Sprint("all by ", size), text, len(text), err)
			return
		}
	}
	tr.add("all", "no end", nil)
}

func position(int) int64    { return lab.AtPosition }
func behind(done int) int64 { return int64(done) }

// aioRead reads by io_submit(2).
func aioRead(fd int, b []byte, off int64) (int, error) {
	var context uintptr
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&context)), 0); errno != 0 {
		return 0, errno
	}
	defer unix.Syscall(unix.SYS_IO_DESTROY, context, 0, 0)
	block := &struct { // struct iocb of a little-endian machine, with IOCB_CMD_PREAD = 0
		data           uint64
		key, flags     uint32
		opcode, prio   uint16
		fd             uint32
		buf, size, off uint64
		_              [2]uint64
	}{fd: uint32(fd), buf: uint64(uintptr(unsafe.Pointer(&b[0]))), size: uint64(len(b)), off: uint64(off)}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, context, 1, uintptr(unsafe.Pointer(&block))); errno != 0 {
		return 0, errno
	}
	var event struct{ data, block, result, result2 uint64 }
	if _, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, context, 1, 1, uintptr(unsafe.Pointer(&event)), 0, 0); errno != 0 {
		return 0, errno
	}
	if n := int64(event.result); n < 0 {
		return 0, unix.Errno(-n)
	}
	return int(event.result), nil
}

var ringCases = []fileCase{
	{name: "io_uring, reads of every size", do: func(tr *fileTrial) {
		tr.put(10, 60)
		r := tr.ring(0)
		for _, size := range []int{1, 7, 64, 100, 1000, 4095} {
			fd := tr.foo()
			for off, n := int64(0), 1; n > 0 && off < 1<<16; off += int64(n) {
				n = tr.ringRead(r, fd, size, off)
			}
			tr.seek(fd, 0, unix.SEEK_CUR)
		}
	}},
	{name: "io_uring, all of a table by reads of every size", do: func(tr *fileTrial) {
		tr.put(10, 99)
		for _, flags := range []uint32{0, lab.PolledRing} {
			r := tr.ring(flags)
			for _, size := range []int{100, 4096, 5000, 64 << 10, 128 << 10, 512 << 10, 1 << 20, 2<<20 + 5} {
				tr.ringTotal(r, tr.foo(), size, behind)
				tr.ringTotal(r, tr.ringFoo(r), size, behind)
			}
		}
	}},
	{name: "io_uring, offsets", do: func(tr *fileTrial) {
		tr.put(10, 40)
		for _, flags := range []uint32{0, lab.PolledRing} {
			r := tr.ring(flags)
			for _, fd := range []int{tr.foo(), tr.ringFoo(r)} {
				for _, off := range []int64{0, 1, 63, 63, 65, 500, 499, 1 << 20, 0, 0, 0, -2, 1<<63 - 1} {
					tr.ringRead(r, fd, 100, off)
				}
				tr.seek(fd, 0, unix.SEEK_CUR)
				tr.read(fd, 100)
			}
		}
	}},
	{name: "io_uring, several reads at once", do: func(tr *fileTrial) {
		tr.put(10, 60)
		r := tr.ring(0)
		for _, flags := range []uint8{0, lab.AsyncRead} {
			var reads []lab.RingRead
			for off := range 16 {
				reads = append(reads, lab.RingRead{Buf: make([]byte, 200), Off: int64(off * 131)})
			}
			results, err := r.ReadAll(tr.foo(), flags, reads...)
			tr.add("reads", len(results), err)
			for i, read := range reads {
				tr.bytes(fmt.Sprint("at ", read.Off), read.Buf, results[i].N, results[i].Err)
			}
		}
	}},
	{name: "io_uring, at the position of a file that a polling thread opened", do: func(tr *fileTrial) {
		tr.put(10, 99)
		r := tr.ring(lab.PolledRing)
		for _, size := range []int{100, 4096, 5000, 64 << 10, 128 << 10, 512 << 10, 1 << 20, 2<<20 + 5} {
			fd := tr.ringFoo(r)
			tr.ringTotal(r, fd, size, position)
			tr.ringRead(r, fd, 100, lab.AtPosition)
		}
	}},
	{name: "io_uring, at the position of another file", do: func(tr *fileTrial) {
		tr.put(10, 12)
		for _, r := range []*lab.Ring{tr.ring(0), tr.ring(lab.PolledRing)} {
			fd := tr.foo()
			tr.ringRead(r, fd, 30, lab.AtPosition)
			tr.ringRead(r, fd, 30, lab.AtPosition)
			tr.seek(fd, 0, unix.SEEK_CUR)
		}
	}, differs: "the kernel does not move the position of a file of FUSE"},
	{name: "aio", do: func(tr *fileTrial) {
		tr.put(10, 12)
		fd, b := tr.foo(), make([]byte, 100)
		for _, off := range []int64{0, 0, 30, 1 << 20} {
			n, err := aioRead(fd, b, off)
			tr.bytes(fmt.Sprint("at ", off), b, n, err)
		}
	}, differs: "procfs has no read_iter for such a file, FUSE has"},
}
