package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	writesPerRound = 20000
	writtenHosts   = 1000
)

// writes compares writes to a table with writes to a file system that does
// nothing.
func writes(b *bench) (err error) {
	d, err := b.daemon(b.free, rules([]int{queueSSH}, chain(queueSSH, "", "WRITE", "DROP")), fmt.Sprintf("ip_list_tot=%d", some))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	null, err := b.serveMount("null", func(mount string) *exec.Cmd { return command(b.ctx, b.nullfs, "-f", mount) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, null.stop()) }()
	echo := b.report.row("write", "open(O_TRUNC), write, close of +ip", "us", "null file system", goal{ratioAtMost, 0.75})
	again := b.report.row("write", "lseek, write on one descriptor", "us", "null file system", goal{ratioAtMost, 1})
	return b.each(func(int) error {
		for _, way := range []struct {
			name string
			row  *row
		}{{"echo", echo}, {"again", again}} {
			var ours, peer float64
			if err := b.client.numbers(helper(b.ctx, "write", way.name, d.table("WRITE"), strconv.Itoa(writesPerRound)), &ours); err != nil {
				return err
			}
			if err := b.client.numbers(helper(b.ctx, "write", way.name, filepath.Join(null.mount, "null"), strconv.Itoa(writesPerRound)), &peer); err != nil {
				return err
			}
			way.row.add(ours, peer)
		}
		return nil
	})
}

// writeLoop is the helper that writes addresses to a file, as echo in a shell
// does or again and again to one descriptor, and prints microseconds a write.
func writeLoop(args []string) error {
	path := args[1]
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var lines [writtenHosts][]byte
	for i := range lines {
		lines[i] = fmt.Appendf(nil, "+10.0.%d.%d\n", i>>8, i&255)
	}
	write := echoLine
	if args[0] == "again" {
		fd, err := unix.Open(path, unix.O_WRONLY, 0)
		if err != nil {
			return err
		}
		write = func(_ string, line []byte) error { return writeAgain(fd, line) }
	}
	start := time.Now()
	for i := range n {
		if err := write(path, lines[i%len(lines)]); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	fmt.Println(float64(time.Since(start)) / float64(n) / float64(time.Microsecond))
	return nil
}

// echoLine is what `echo LINE > FILE` asks of the kernel.
func echoLine(path string, line []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, line); err != nil {
		return err
	}
	return unix.Close(fd)
}

func writeAgain(fd int, line []byte) error {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	_, err := unix.Write(fd, line)
	return err
}
