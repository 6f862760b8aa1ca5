package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestMain is a process of TestChurn if it is called with these variables.
func TestMain(m *testing.M) {
	if path := os.Getenv("CHURN_SOCKET"); path != "" {
		held, _ := strconv.Atoi(os.Getenv("CHURN_HELD"))
		threads, _ := strconv.Atoi(os.Getenv("CHURN_THREADS"))
		for range threads {
			go churn(path, os.Getenv("CHURN_TEXT"), held)
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
		return
	}
	os.Exit(m.Run())
}

// churn connects to a socket again and again and asks for nothing. It keeps the
// last held connections open.
func churn(path, text string, held int) {
	var open []int
	for n := 0; ; n++ {
		if n == 3 {
			fmt.Println("at work")
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		_ = unix.Connect(fd, &unix.SockaddrUnix{Name: path}) // a signal may end it
		_, _ = unix.SendmsgN(fd, []byte(text), nil, nil, unix.MSG_NOSIGNAL)
		if open = append(open, fd); len(open) > held {
			unix.Close(open[0])
			open = slices.Delete(open, 0, 1)
		}
	}
}

// TestChurn has a process connect in a loop and ask for nothing. All others are
// answered.
func TestChurn(t *testing.T) {
	const rules = "GET /rules HTTP/1.1\r\nHost: recentfs\r\n\r\n"
	for _, c := range []struct {
		name string
		text string // what it sends
		held int    // how many connections each thread keeps open
		// It has so many threads, and the user.
		threads int
		uid     uint32
	}{
		{"connections that end at once", "", 0, 2, 0},
		{"connections that stay", "", 2 * maxConnections, 2, 0},
		{"half a request", "GET /rul", 2 * maxConnections, 2, 0},
		{"another user, more threads than may wait to be accepted", rules, 2, maxConnections, 65534},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := lab.TempDir(t) + "/c.sock"
			s, err := Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o666); err != nil { // the other user is in the group
				t.Fatal(err)
			}
			// With the usual 4096 places each request would wait for long.
			control(s.socket, func(fd int) { err = unix.Listen(fd, maxConnections) })
			if err != nil {
				t.Fatal(err)
			}
			serveUntilEnd(t, s, quick())
			churner := exec.Command("/proc/self/exe")
			churner.Env = append(os.Environ(), "CHURN_SOCKET="+path, fmt.Sprint("CHURN_HELD=", c.held), "CHURN_TEXT="+c.text, fmt.Sprint("CHURN_THREADS=", c.threads))
			churner.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}}
			end, err := churner.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := churner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := churner.Start(); err != nil {
				t.Fatal(err)
			}
			defer churner.Wait()
			defer end.Close()
			if _, err := out.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				client := NewClient(path)
				if err := client.Rules(io.Discard, ""); err != nil {
					t.Errorf("rules %d: %v", i, err)
				}
				if err := client.Reload(io.Discard); err != nil {
					t.Errorf("reload %d: %v", i, err)
				}
			}
		})
	}
}

// TestMakeRoom has a new connection replace one of others.
func TestMakeRoom(t *testing.T) {
	own := uint32(os.Geteuid())
	of := func(pid int32, uid uint32) conn { return conn{peer: peer{pid, uid}} }
	for _, c := range []struct {
		name   string
		open   []conn
		closed int // index, or -1 if none
	}{
		{"the oldest", []conn{{}, {}}, 0},
		{"of the process that has most", []conn{of(1, 7), of(2, 7), of(2, 7)}, 1},
		{"of the user who has most, in many processes", []conn{of(1, 7), of(2, 8), of(1, 7), of(3, 8), of(4, 8)}, 1},
		{"of the process of that user", []conn{of(1, 7), of(1, 7), of(2, 8), of(3, 8), of(3, 8)}, 3},
		{"of a number that is also another user's process", []conn{of(1, 7), of(1, 8), of(2, 8)}, 1},
		{"none of root's", []conn{of(1, 0), of(1, 0), of(2, 7)}, 2},
		{"none of the daemon's own user's", []conn{of(1, own), of(1, own), of(2, 7)}, 2},
		{"of root's, where only that is idle", []conn{of(1, 0), of(1, 0), {peer: peer{2, 7}, state: atWork}}, 0},
		{"a silent one", []conn{{state: asking}, {state: answering}, {}}, 2},
		{"of the process that has most, though others are silent", []conn{of(1, 7), {peer: peer{2, 7}, state: asking}, {peer: peer{2, 7}, state: asking}}, 1},
		{"those at work do not count", []conn{{peer: peer{1, 7}, state: atWork}, {peer: peer{1, 7}, state: atWork}, of(1, 7), of(2, 7), of(2, 7)}, 3},
		{"without a silent one, the oldest", []conn{{state: asking}, {state: answering}}, 0},
		{"an answer that leaves", []conn{{state: atWork}, {state: answering}}, 1},
		{"none at work", []conn{{state: atWork}, {state: atWork}}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &limiter{}
			for i := range c.open {
				c.open[i].limiter = l
				c.open[i].Conn, _ = net.Pipe()
				l.open = append(l.open, &c.open[i])
			}
			l.makeRoom()
			for i := range c.open {
				if closed := !slices.Contains(l.open, &c.open[i]); closed != (i == c.closed) {
					t.Errorf("connection %d is closed: %v", i, closed)
				}
			}
		})
	}
}

// TestLateReader has a request on its way that nobody has read yet. Its connection
// is not silent.
func TestLateReader(t *testing.T) {
	socket, err := net.Listen("unix", t.TempDir()+"/c.sock")
	if err != nil {
		t.Fatal(err)
	}
	l := &limiter{Listener: socket, max: 2, peerOf: peerOf}
	defer l.Close()
	var accepted []net.Conn
	for i := range 3 {
		client, err := net.Dial("unix", socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if i == 0 {
			fmt.Fprint(client, "GET")
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, want := c.(*conn).peer, (peer{int32(os.Getpid()), uint32(os.Geteuid())}); got != want {
			t.Errorf("the connection is of %v, want %v", got, want)
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		accepted = append(accepted, c)
	}
	if n, err := accepted[0].Read(make([]byte, 3)); n != 3 {
		t.Errorf("the request is lost: %v", err)
	}
	if _, err := accepted[1].Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the silent connection is open: %v", err)
	}
}

// watched is a connection that tells when it is read.
type watched struct {
	*net.UnixConn
	onRead func()
}

func (w *watched) Read(p []byte) (int, error) {
	w.onRead()
	return w.UnixConn.Read(p)
}

// TestStateBeforeRead has bytes leave the socket only once their connection does not
// count as silent any more, be it a single byte. The end of the connection is no byte.
func TestStateBeforeRead(t *testing.T) {
	for _, c := range []struct {
		text string
		want state
	}{{"GET", asking}, {"G", asking}, {"", silent}} {
		t.Run(c.text, func(t *testing.T) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(fds[0], []byte(c.text)); err != nil {
				t.Fatal(err)
			}
			unix.Close(fds[0])
			file := os.NewFile(uintptr(fds[1]), "socket")
			socket, err := net.FileConn(file)
			file.Close()
			if err != nil {
				t.Fatal(err)
			}
			l := &limiter{max: 1}
			client := &conn{limiter: l}
			client.Conn = &watched{socket.(*net.UnixConn), func() {
				if client.state != c.want {
					t.Errorf("it is read in state %d, want %d", client.state, c.want)
				}
			}}
			l.open = append(l.open, client)
			defer client.Close()
			buf := make([]byte, 9)
			if n, _ := client.Read(buf); string(buf[:n]) != c.text {
				t.Errorf("%q was read", buf[:n])
			}
		})
	}
}
