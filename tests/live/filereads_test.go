package live

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

var readCases = []fileCase{
	{name: "reads of every size", do: func(tr *fileTrial) {
		tr.put(10, 99)
		for _, size := range []int{1, 7, 64, 1000, 4000, 4090, 4095, 4096} {
			tr.readAll(tr.foo(), size)
			fd := tr.foo()
			tr.read(fd, 10)
			tr.readAll(fd, size)
		}
	}},
	{name: "reads of more than a page", do: func(tr *fileTrial) {
		tr.put(10, 90)
		for _, size := range []int{5000, 8192, 131072, 1 << 20} {
			tr.readAll(tr.foo(), size)
		}
	}, differs: "a large read gets more than a page, by choice: each read is a round trip"},
	{name: "all of a table by reads of every size", do: func(tr *fileTrial) {
		tr.put(10, 99)
		for _, size := range []int{4096, 5000, 8192, 131072, 1 << 20} {
			fd, total := tr.foo(), 0
			for b := make([]byte, size); ; {
				n, err := unix.Read(fd, b)
				if total += max(n, 0); n <= 0 {
					tr.add(fmt.Sprint("read ", size), total, err)
					break
				}
			}
			tr.seek(fd, 0, unix.SEEK_CUR)
		}
	}},
	{name: "sizes mixed", do: func(tr *fileTrial) {
		tr.put(10, 40)
		fd := tr.foo()
		for _, size := range []int{5, 0, 70, 1, 200, 3, 1500, 64, 2000} {
			tr.read(fd, size)
			tr.seek(fd, 0, unix.SEEK_CUR)
		}
	}},
	{name: "pread and preadv", do: func(tr *fileTrial) {
		tr.put(10, 40)
		fd := tr.foo()
		for _, off := range []int64{0, 1, 63, 64, 65, 500, 499, 1 << 20, 0, -1, 1<<63 - 1} {
			b := make([]byte, 100)
			n, err := unix.Pread(fd, b, off)
			tr.bytes(fmt.Sprint("pread ", off), b, n, err)
			v := [][]byte{b[:7], b[7:8], b[8:80]}
			n, err = unix.Preadv(fd, v, off)
			tr.bytes(fmt.Sprint("preadv ", off), b, n, err)
			tr.seek(fd, 0, unix.SEEK_CUR)
		}
	}},
	{name: "readv", do: func(tr *fileTrial) {
		tr.put(10, 40)
		fd := tr.foo()
		for range 40 {
			b := make([]byte, 100)
			n, err := unix.Readv(fd, [][]byte{b[:7], b[7:8], b[8:80]})
			tr.bytes("readv", b, n, err)
		}
	}},
	{name: "reads and writes of nothing", do: func(tr *fileTrial) {
		fd := tr.foo()
		for _, pos := range []int64{0, 1, 100} {
			tr.seek(fd, pos, unix.SEEK_SET)
			tr.write(fd, "")
			tr.read(fd, 0)
			for _, v := range [][][]byte{{}, {nil}, {nil, nil}, {nil, []byte("x")}, {nil, []byte("+1.2.3.4"), nil}} {
				n, err := unix.Writev(fd, v)
				tr.add(fmt.Sprintf("writev %q at %d", v, pos), n, err)
				tr.seek(fd, pos, unix.SEEK_SET)
			}
		}
		tr.write(tr.open("foo", unix.O_RDONLY), "")
		tr.read(tr.open("foo", unix.O_WRONLY), 0)
	}},
	{name: "vectors", do: func(tr *fileTrial) {
		for _, v := range []string{"+1.2.3.4 ,\n", "+1.2.3.5 ,+1.2.3.6", "+1.2., 3.7", "/,+1.2.3.8", "x,+1.2.3.9"} {
			fd := tr.foo()
			n, err := unix.Writev(fd, bytes.Split([]byte(v), []byte(",")))
			tr.add(fmt.Sprintf("writev %q", v), n, err)
			tr.seek(fd, 0, unix.SEEK_CUR)
		}
	}, differs: "procfs takes each vector as a write, FUSE joins them"},
	{name: "pwrite", do: func(tr *fileTrial) {
		fd := tr.foo()
		for _, c := range []struct {
			text string
			pos  int64
		}{{"", 0}, {"", 5}, {"+1.2.3.4", 0}, {"/", 0}} {
			n, err := unix.Pwrite(fd, []byte(c.text), c.pos)
			tr.add(fmt.Sprintf("pwrite %q %d", c.text, c.pos), n, err)
		}
	}, differs: "seq_open clears FMODE_PWRITE. FUSE cannot tell pwrite from write"},
	{name: "pwrite elsewhere", do: func(tr *fileTrial) {
		n, err := unix.Pwrite(tr.foo(), []byte("+1.2.3.4"), 5)
		tr.add("pwrite", n, err)
	}},
	{name: "flags of preadv2 and pwritev2", do: func(tr *fileTrial) {
		tr.put(10, 12)
		fd := tr.foo()
		b := make([]byte, 10)
		for _, flags := range []int{unix.RWF_NOWAIT, unix.RWF_HIPRI, unix.RWF_DSYNC, unix.RWF_SYNC, unix.RWF_APPEND, 1 << 30} {
			n, err := unix.Preadv2(fd, [][]byte{b}, -1, flags)
			tr.bytes(fmt.Sprint("preadv2 ", flags), b, n, err)
			n, err = unix.Pwritev2(fd, [][]byte{[]byte("+1.2.3.4")}, -1, flags)
			tr.add(fmt.Sprint("pwritev2 ", flags), n, err)
		}
	}, differs: "procfs accepts no flags for a file without read_iter, FUSE does"},
	{name: "seek to everywhere", do: func(tr *fileTrial) {
		tr.put(10, 20)
		fd := tr.foo()
		for _, whence := range []int{unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_DATA, unix.SEEK_HOLE, 5, 6, -1} {
			for _, off := range []int64{0, 1, 63, 64, 300, -1, -300, 1 << 31, 1 << 40, 1<<63 - 1, -1 << 63} {
				tr.seek(fd, off, whence)
				tr.read(fd, 20)
				tr.seek(fd, 0, unix.SEEK_CUR)
			}
		}
	}},
	{name: "seek from the end", do: func(tr *fileTrial) {
		fd := tr.foo()
		for _, off := range []int64{0, 1, -1} {
			tr.seek(fd, off, unix.SEEK_END)
		}
	}, differs: "seq_lseek refuses it. For FUSE the kernel itself does it, from size 0"},
	{name: "an entry gets stamps while it is read", do: func(tr *fileTrial) {
		tr.put(10, 11)
		fd := tr.foo()
		tr.read(fd, 20)
		tr.put(10, 11)
		tr.put(10, 11)
		tr.readAll(fd, 30)
		tr.seek(fd, 0, unix.SEEK_SET)
		tr.readAll(fd, 30)
	}},
	{name: "an entry comes at the end", do: func(tr *fileTrial) {
		fd := tr.foo()
		for i := range 5 {
			tr.readAll(fd, 50)
			tr.put(10+i, 11+i)
		}
		tr.readAll(fd, 50)
	}},
	{name: "an entry goes while it is read", do: func(tr *fileTrial) {
		tr.put(10, 11)
		fd := tr.foo()
		tr.read(fd, 20)
		tr.write(tr.open("foo", unix.O_WRONLY), "-10.0.0.10")
		tr.readAll(fd, 20)
		tr.put(11, 12)
		tr.readAll(fd, 20)
	}},
	{name: "a flush while it is read", do: func(tr *fileTrial) {
		for _, size := range []int{1, 7, 64, 100, 1000} {
			tr.put(10, 40)
			fd := tr.foo()
			tr.read(fd, size)
			tr.read(fd, size)
			tr.write(tr.open("foo", unix.O_WRONLY), "/")
			tr.readAll(fd, size)
			tr.put(10, 40)
			tr.seek(fd, 0, unix.SEEK_SET)
			tr.readAll(fd, size)
		}
	}},
	{name: "a change after reads that end in a line, at its end and after it", do: func(tr *fileTrial) {
		tr.put(10, 11)
		line := tr.read(tr.foo(), 4096)
		for _, begun := range [][]int{{}, {1}, {line - 1}, {1, line - 1}, {1, line - 1, line}, {1, line - 1, line, line}, {1, 2*line - 1}, {10, line - 11, 1}} {
			for _, next := range []int{1, line - 1, line, line + 1, 2 * line, 1000, 4000, 4095, 4096} {
				for _, added := range []int{0, 30} {
					tr.write(tr.open("foo", unix.O_WRONLY), "/")
					tr.put(10, 99)
					fd := tr.foo()
					for _, size := range append(begun, next) {
						tr.read(fd, size)
					}
					tr.write(tr.open("foo", unix.O_WRONLY), "/")
					tr.put(10, 10+added)
					tr.read(fd, next)
					tr.read(fd, next)
					tr.close()
				}
			}
		}
	}},
	{name: "a flush after a seek into a line", do: func(tr *fileTrial) {
		tr.put(10, 12)
		fd := tr.foo()
		tr.seek(fd, 10, unix.SEEK_SET)
		tr.write(tr.open("foo", unix.O_WRONLY), "/")
		tr.read(fd, 100)
	}, differs: "seq_lseek forms the line. FUSE does not tell of a seek, and the next read forms it"},
	{name: "a read far beyond the end, and a write that appends", do: func(tr *fileTrial) {
		for _, pos := range []int64{0, 1000, 1 << 20} {
			fd := tr.open("foo", unix.O_RDWR|unix.O_APPEND)
			tr.seek(fd, pos, unix.SEEK_SET)
			tr.read(fd, 10)
			tr.write(fd, "+1.2.3.4")
		}
	}},
	{name: "a seek after a flush", do: func(tr *fileTrial) {
		for _, pos := range []int64{0, 1, 3, 8} {
			fd := tr.foo()
			tr.write(fd, "/\n")
			tr.put(10, 11)
			tr.seek(fd, pos, unix.SEEK_SET)
			tr.read(fd, 100)
			tr.seek(fd, pos, unix.SEEK_SET)
			tr.write(fd, "+1.2.3.4")
		}
	}},
	{name: "a seek to the length of a flush", do: func(tr *fileTrial) {
		fd := tr.foo()
		tr.write(fd, "/\n")
		tr.put(10, 11)
		tr.seek(fd, 2, unix.SEEK_SET)
		tr.read(fd, 100)
	}, differs: "FUSE moves the position by the length of the flush, procfs does not: to us the seek looks like none"},
	{name: "a flush and new entries while it is read", do: func(tr *fileTrial) {
		for _, size := range []int{7, 64, 1000} {
			tr.put(10, 40)
			fd := tr.foo()
			tr.read(fd, size)
			tr.write(tr.open("foo", unix.O_WRONLY), "/")
			tr.put(50, 80)
			tr.readAll(fd, size)
		}
	}},
	{name: "read, write, read on one descriptor", do: func(tr *fileTrial) {
		tr.put(10, 20)
		fd := tr.foo()
		for range 3 {
			tr.read(fd, 100)
			tr.write(fd, "+10.0.0.30")
			tr.seek(fd, 0, unix.SEEK_SET)
			tr.write(fd, "+10.0.0.31")
			tr.read(fd, 100)
			tr.write(fd, "+10.0.0.400")
			tr.read(fd, 100)
			tr.seek(fd, 0, unix.SEEK_SET)
			tr.write(fd, "-10.0.0.31")
			tr.seek(fd, 0, unix.SEEK_SET)
		}
	}},
	{name: "two descriptors of one open file", do: func(tr *fileTrial) {
		tr.put(10, 20)
		fd := tr.foo()
		dup, err := unix.Dup(fd)
		tr.add("dup", "ok", err)
		tr.fds = append(tr.fds, dup)
		tr.read(fd, 100)
		tr.read(dup, 100)
		tr.write(dup, "+10.0.0.30")
		tr.seek(fd, 0, unix.SEEK_SET)
		tr.write(dup, "+10.0.0.30")
		tr.write(fd, "+10.0.0.31")
	}},
}
