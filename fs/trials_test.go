package fs

import (
	"strings"

	"golang.org/x/sys/unix"
)

const (
	rdwr = unix.O_RDWR
	wr   = unix.O_WRONLY
	two  = "+1.2.3.4\n"
	long = "+2001:0db8:1111:2222:3333:4444:5555:6666" // 40 bytes
)

// trialCase is what is done to the kernel's files and to ours. Where FUSE forces
// another outcome, differs says why.
type trialCase struct {
	name    string
	do      func(*trial)
	differs string
}

// contentTrials read and write.
var contentTrials = []trialCase{
	{name: "write", do: func(tr *trial) {
		fd := tr.open(wr | unix.O_CREAT | unix.O_TRUNC)
		tr.write(fd, two)
		tr.pos(fd)
	}},
	{name: "append", do: func(tr *trial) {
		for range 3 {
			fd := tr.open(wr | unix.O_CREAT | unix.O_APPEND)
			tr.write(fd, two)
			tr.pos(fd)
		}
	}, differs: "the kernel puts an appending descriptor's position at its idea of the end"},
	{name: "append to a file that was written", do: func(tr *trial) {
		tr.write(tr.open(wr), two)
		tr.write(tr.open(wr|unix.O_APPEND), "+1.2.3.5\n")
		tr.write(tr.open(wr|unix.O_APPEND), "-1.2.3.4\n")
	}},
	{name: "append twice", do: func(tr *trial) {
		fd := tr.open(wr | unix.O_APPEND)
		tr.write(fd, two)
		tr.write(fd, two)
	}},
	{name: "append, seek, append", do: func(tr *trial) {
		fd := tr.open(wr | unix.O_APPEND)
		tr.write(fd, two)
		tr.seek(fd, 0, unix.SEEK_SET)
		tr.write(fd, "+1.2.3.5")
	}, differs: "a seek of an appending descriptor is not seen"},
	{name: "append after a flush", do: func(tr *trial) {
		fd := tr.open(rdwr | unix.O_APPEND)
		tr.write(fd, "/\n")
		tr.write(fd, two)
		tr.write(fd, two)
	}},
	{name: "read, then append", do: func(tr *trial) {
		tr.write(tr.open(wr), two)
		fd := tr.open(rdwr | unix.O_APPEND)
		tr.read(fd, 100)
		tr.write(fd, two)
	}},
	{name: "write twice", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.write(fd, two)
		tr.write(fd, "+1.2.3.5\n")
		tr.pos(fd)
	}},
	{name: "write, seek, write", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.write(fd, two)
		tr.seek(fd, 0, unix.SEEK_SET)
		tr.write(fd, "+1.2.3.5\n")
		tr.seek(fd, 0, unix.SEEK_SET)
		tr.write(fd, "-1.2.3.4")
	}},
	{name: "write after a seek elsewhere", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.seek(fd, 5, unix.SEEK_SET)
		tr.write(fd, two)
		tr.pos(fd)
		tr.seek(fd, 1<<62, unix.SEEK_SET)
		tr.write(fd, "/")
	}},
	{name: "write after a write that failed", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.write(fd, "1.2.3.4")
		tr.write(fd, "+1.2.3.400")
		tr.write(fd, "+1.2.3.4 ")
		tr.write(fd, "")
		tr.pos(fd)
		tr.write(fd, two)
	}},
	{name: "flush, then add", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.write(fd, "/\n")
		tr.write(fd, "/")
		tr.write(fd, two)
		tr.write(fd, two)
	}},
	{name: "flush, then read", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.write(fd, "/\n")
		tr.write(tr.open(wr), two)
		tr.read(fd, 10)
		tr.read(fd, 10)
		tr.read(fd, 4096)
		tr.read(fd, 4096)
		tr.write(fd, two)
	}},
	{name: "flush, seek, write twice", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.write(fd, "/\n")
		tr.seek(fd, 0, unix.SEEK_SET)
		tr.write(fd, two)
		tr.write(fd, two)
	}},
	{name: "position after a flush", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.write(fd, "/\n")
		tr.pos(fd)
	}, differs: "the kernel moves the position of a FUSE file by what was taken"},
	{name: "read, then write", do: func(tr *trial) {
		tr.write(tr.open(wr), two)
		fd := tr.open(rdwr)
		tr.read(fd, 10)
		tr.write(fd, "+1.2.3.5\n")
		tr.read(fd, 4096)
		tr.seek(fd, 0, unix.SEEK_SET)
		tr.write(fd, two)
		tr.read(fd, 5)
	}},
	{name: "read nothing, then write", do: func(tr *trial) {
		fd := tr.open(rdwr)
		tr.read(fd, 4096)
		tr.write(fd, two)
	}},
	{name: "read in pieces and at its end", do: func(tr *trial) {
		tr.write(tr.open(wr), two)
		fd := tr.open(unix.O_RDONLY)
		for range 6 {
			tr.read(fd, 33)
		}
		tr.pos(fd)
		tr.seek(fd, 7, unix.SEEK_SET)
		tr.read(fd, 5)
		tr.seek(fd, 1000, unix.SEEK_SET)
		tr.read(fd, 5)
		tr.pos(fd)
	}},
	{name: "long writes are cut", do: func(tr *trial) {
		for _, tail := range []string{"", "\n", "\n123456", "\n1234567", strings.Repeat("x", 1000)} {
			fd := tr.open(wr)
			tr.write(fd, long+tail)
			tr.pos(fd)
		}
	}},
	{name: "a megabyte is cut", do: func(tr *trial) {
		fd := tr.open(wr)
		tr.write(fd, "+9.9.9.9\n"+strings.Repeat("z", 1<<20))
		tr.pos(fd)
		fd = tr.open(wr)
		tr.write(fd, "/"+strings.Repeat("z", 1<<20))
	}},
	{name: "vectors", do: func(tr *trial) {
		fd := tr.open(wr)
		n, err := unix.Writev(fd, [][]byte{[]byte("+1.2.3.4"), []byte("\n")})
		tr.add("writev", n, err)
	}, differs: "procfs takes each vector as a write, FUSE joins them"},
	{name: "pwrite", do: func(tr *trial) {
		fd := tr.open(wr)
		n, err := unix.Pwrite(fd, []byte(two), 0)
		tr.add("pwrite", n, err)
	}, differs: "seq_open clears FMODE_PWRITE: ESPIPE; FUSE cannot tell pwrite from write"},
	{name: "pwrite elsewhere", do: func(tr *trial) {
		fd := tr.open(wr)
		n, err := unix.Pwrite(fd, []byte(two), 1)
		tr.add("pwrite", n, err)
	}},
	{name: "pread", do: func(tr *trial) {
		tr.write(tr.open(wr), two)
		fd := tr.open(rdwr)
		b := make([]byte, 7)
		for _, off := range []int64{4, 0, 4} {
			n, err := unix.Pread(fd, b, off)
			tr.add("pread", string(b[:max(n, 0)]), err)
		}
		tr.pos(fd)
		tr.write(fd, "+1.2.3.5")
	}},
}
