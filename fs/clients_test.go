package fs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// clientEnv makes the test binary a client: its kind, a table's file, and a number of
// its own. It works until its standard input ends. Then it prints how often it did
// its work. An error ends it.
const clientEnv = "RECENTFS_TEST_CLIENT"

// clients are the kinds: each makes what is done again and again.
var clients = map[string]func(path string, id int) (work func(i int) error, err error){
	"echo":   newEcho,
	"writer": newWriter,
	"adder":  newAdder,
	"reader": func(path string, _ int) (func(int) error, error) { return newReader(path, 64<<10) },
	"crumbs": func(path string, _ int) (func(int) error, error) { return newReader(path, 100) },
	"stat":   newStater,
}

func runClient(what string) error {
	var kind, path string
	var id int
	if _, err := fmt.Sscan(what, &kind, &path, &id); err != nil {
		return err
	}
	work, err := clients[kind](path, id)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	for i := 0; ; i++ {
		select {
		case <-stop:
			fmt.Println(i)
			return nil
		default:
		}
		if err := work(i); err != nil {
			return fmt.Errorf("%s, after %d: %w", what, i, err)
		}
	}
}

// address is the i-th of a client.
func address(id, i int) string { return fmt.Sprintf("%d.%d.%d.%d", id, i>>16, i>>8&255, i&255) }

// write writes a text as a shell's echo does: no more than one time, even if it fails.
// os.File would try again.
func writeOnce(fd int, text string) error {
	n, err := unix.Pwrite(fd, []byte(text), 0)
	if err == nil && n != len(text) {
		err = fmt.Errorf("%d bytes of %q were written", n, text)
	}
	return err
}

// newEcho opens the file for each address.
func newEcho(path string, id int) (func(int) error, error) {
	return func(i int) error {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_TRUNC|unix.O_CREAT, 0o666)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		defer unix.Close(fd)
		return writeOnce(fd, "+"+address(id, i)+"\n")
	}, nil
}

// newWriter writes all addresses to one descriptor.
func newWriter(path string, id int) (func(int) error, error) {
	fd, err := unix.Open(path, unix.O_WRONLY, 0)
	return func(i int) error { return writeOnce(fd, "+"+address(id, i)) }, err
}

// crowd is how many addresses an adder has.
const crowd = 50

// newAdder adds addresses and removes them.
func newAdder(path string, id int) (func(int) error, error) {
	fd, err := unix.Open(path, unix.O_RDWR, 0)
	return func(i int) error {
		return errors.Join(writeOnce(fd, "+"+address(id, i%crowd)), writeOnce(fd, "-"+address(id, i%crowd)))
	}, err
}

// steady is how many addresses of id 9 a reader finds in its table. Each is there once
// in each dump, and has one stamp.
const steady = 400

// newReader reads the table again and again from one descriptor, so much at a time.
func newReader(path string, size int) (func(int) error, error) {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	buf := make([]byte, size)
	return func(int) error {
		if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
			return err
		}
		var text strings.Builder
		for {
			n, err := unix.Read(fd, buf)
			if err != nil {
				return fmt.Errorf("read at %d: %w", text.Len(), err)
			}
			if n == 0 {
				break
			}
			text.Write(buf[:n])
		}
		seen := make(map[string]int)
		for line := range strings.Lines(text.String()) {
			fields := strings.Fields(line)
			isSteady := strings.HasPrefix(line, "src=9.")
			if len(fields) < 8 || isSteady && len(fields) != 8 || !strings.HasPrefix(line, "src=") || !strings.HasSuffix(line, "\n") {
				return fmt.Errorf("a line %q", line)
			}
			if isSteady {
				seen[fields[0]]++
			}
		}
		for a, times := range seen {
			if times != 1 {
				return fmt.Errorf("%s came %d times", a, times)
			}
		}
		if len(seen) != steady {
			return fmt.Errorf("%d addresses, want %d:\n%s", len(seen), steady, text.String())
		}
		return nil
	}, err
}

// newStater looks at a file, which stays the same, by its name and its descriptor.
func newStater(path string, _ int) (func(int) error, error) {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	var first unix.Stat_t
	return func(i int) error {
		var byName, byFd unix.Stat_t
		if err := errors.Join(unix.Stat(path, &byName), unix.Fstat(fd, &byFd)); err != nil {
			return err
		}
		if i == 0 {
			first = byName
		}
		if byName != first || byFd != first {
			return fmt.Errorf("the file was %+v, and is %+v, by its descriptor %+v", first, byName, byFd)
		}
		return nil
	}, err
}

// client is a client that runs.
type client struct {
	kind string
	id   int
	cmd  *exec.Cmd
	in   io.Closer
	out  io.Reader
}

// client starts a client of a table.
func (h *holder) client(kind, table string, id int) *client {
	h.t.Helper()
	c := &client{kind: kind, id: id, cmd: exec.Command("/proc/self/exe")}
	c.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", clientEnv, kind, h.path(table), id))
	in, err := c.cmd.StdinPipe()
	if err == nil {
		c.in = in
		c.out, err = c.cmd.StdoutPipe()
	}
	c.cmd.Stderr = os.Stderr
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		h.kill()
		h.drop() // so that nobody waits in the kernel
		kill(c.cmd)
	})
	return c
}

// stop ends the client, and returns how often it did its work.
func (c *client) stop(t *testing.T) (times int) {
	t.Helper()
	c.in.Close()
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c.out).ReadString('\n')
		said <- line
	}()
	select {
	case line := <-said:
		if _, err := fmt.Sscan(line, &times); err != nil {
			t.Fatalf("client %s failed", c.kind)
		}
	case <-time.After(lab.Patience):
		t.Fatalf("client %s hangs", c.kind)
	}
	return times
}
