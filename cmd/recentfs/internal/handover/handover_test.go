package handover

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// workEnv says what a worker of a test is to do.
const workEnv = "RECENTFS_TEST_WORK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(workEnv); dir != "" {
		os.Exit(work(dir))
	}
	os.Exit(m.Run())
}

// work is a worker. It says what it was given in a file of the directory, stores a
// pipe unless it was given one, and then does what the file "do" says.
func work(dir string) int {
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, Leave, syscall.SIGTERM)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	held := Received()
	said := os.Args[1:]
	for name, fds := range held {
		text := name
		for _, fd := range fds {
			b := make([]byte, 100)
			n, err := unix.Read(fd, b)
			if err != nil {
				n = copy(b, err.Error())
			}
			text += " " + string(b[:n])
		}
		said = append(said, text)
	}
	slices.Sort(said)
	h, err := NewHolder()
	if err != nil || h == nil {
		panic(fmt.Sprint(h, err))
	}
	job, _ := os.ReadFile(filepath.Join(dir, "do"))
	if string(job) == "fail" {
		return 3
	}
	for _, name := range []string{"a", "b"} {
		h.must(h.Remove(name))
		r, w, err := os.Pipe()
		h.must(err)
		_, err = fmt.Fprintf(w, "%s of %s", name, job)
		h.must(err)
		h.must(h.Store(name, int(r.Fd())))
	}
	h.must(h.send("READY=1"))
	h.must(os.WriteFile(filepath.Join(dir, "said.new"), []byte(fmt.Sprint(os.Getpid(), " ", strings.Join(said, ", "), "\n")), 0o600))
	h.must(os.Rename(filepath.Join(dir, "said.new"), filepath.Join(dir, "said")))
	ticks := h.hang(string(job))
	for {
		select {
		case <-ticks:
			h.must(h.send("WATCHDOG=1"))
			h.must(os.WriteFile(filepath.Join(dir, "worked"), append(worked(dir), '.'), 0o600))
		case s := <-leave:
			if string(job) == "stays" {
				continue
			}
			if s == Leave {
				return 0
			}
			return 7
		case <-hangup:
			h.must(os.WriteFile(filepath.Join(dir, "hangup"), fmt.Append(nil, os.Getpid()), 0o600))
		}
	}
}

func (h *Holder) must(err error) {
	if err != nil {
		panic(err)
	}
}

// kept is a keeper of a test.
type kept struct {
	*testing.T
	dir   string
	pid   int // of the last worker that said something
	ended chan string
	left  []string // what nobody goes on with
}

func keep(t *testing.T) *kept { return keepDoing(t, "first") }

// keepDoing starts a keeper, whose first worker has that job.
func keepDoing(t *testing.T, job string) *kept {
	k := &kept{T: t, dir: t.TempDir(), ended: make(chan string, 1)}
	k.do(job)
	t.Setenv(workEnv, k.dir)
	go func() {
		code, err := Keep("/proc/self/exe", []string{"worker", "one"}, []string{"worker"}, func(held Held) {
			k.left = slices.Sorted(maps.Keys(held))
		}, func(Held) { t.Error("it aborts") })
		k.ended <- fmt.Sprint(code, " ", err)
	}()
	return k
}

// do says what the next worker is to do.
func (k *kept) do(job string) {
	k.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, "do"), []byte(job), 0o600); err != nil {
		k.Fatal(err)
	}
}

// await waits for what the next worker says.
func (k *kept) await(want string) {
	k.Helper()
	lab.Eventually(k, "the worker says "+want, func() error {
		text, err := os.ReadFile(filepath.Join(k.dir, "said"))
		if err != nil {
			return err
		}
		pid, said, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		if pid == fmt.Sprint(k.pid) {
			return fmt.Errorf("no other worker than %s", pid)
		}
		if said != want {
			k.Fatalf("worker %s says %q, want %q", pid, said, want)
		}
		_, err = fmt.Sscan(pid, &k.pid)
		return err
	})
}

func (k *kept) end(want string) {
	k.Helper()
	select {
	case got := <-k.ended:
		if got != want {
			k.Errorf("it ended with %s, want %s", got, want)
		}
		if fmt.Sprint(k.left) != "[a b]" { // the worker removes nothing at its end
			k.Errorf("left are %q", k.left)
		}
	case <-time.After(20 * time.Second):
		k.Fatal("it goes on")
	}
}

// TestKeep replaces a worker that dies and one that leaves. Each gets what the one
// before had stored.
func TestKeep(t *testing.T) {
	before := lab.Descriptors(t)
	k := keep(t)
	k.await("one")
	k.do("second")
	if err := syscall.Kill(k.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	k.await("a a of first, b b of first")
	k.do("third")
	if err := syscall.Kill(os.Getpid(), Leave); err != nil {
		t.Fatal(err)
	}
	k.await("a a of second, b b of second")
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	k.end("7 <nil>")
	if now := lab.Descriptors(t); now > before {
		t.Errorf("%d descriptors are open, and %d were before", now, before)
	}
}

// TestKeepSignals sends signals while one worker ends and the next one begins. They
// wait until it is ready.
func TestKeepSignals(t *testing.T) {
	k := keep(t)
	k.await("one")
	send := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
	}
	// leave ends a worker, and sends a signal at once.
	leave := func(then syscall.Signal) {
		t.Helper()
		send(Leave)
		for syscall.Kill(k.pid, 0) == nil {
		}
		send(then)
	}
	k.do("second")
	leave(syscall.SIGHUP)
	k.await("a a of first, b b of first")
	lab.Eventually(t, "it gets the hangup", func() error {
		text, err := os.ReadFile(filepath.Join(k.dir, "hangup"))
		if err == nil && string(text) != fmt.Sprint(k.pid) {
			return fmt.Errorf("worker %s got it, not %d", text, k.pid)
		}
		return err
	})
	k.do("third")
	leave(syscall.SIGTERM)
	k.await("a a of second, b b of second")
	k.end("7 <nil>")
}

// TestReceived has an environment that says more than there is.
func TestReceived(t *testing.T) {
	for _, c := range []struct{ name, pid, n string }{
		{"too many", fmt.Sprint(os.Getpid()), "100000"},
		{"no number", fmt.Sprint(os.Getpid()), "99999999999999999999"},
		{"negative", fmt.Sprint(os.Getpid()), "-5"},
		{"of nobody", "", "1"},
		{"of another", "1", "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(listenPID, c.pid)
			t.Setenv(listenFDs, c.n)
			t.Setenv(listenNames, "a:b")
			if held := Received(); len(held) > 0 { // what this process has opened is no one else's
				t.Errorf("it received %v", held)
			}
			if os.Getenv(listenPID) != "" || os.Getenv(listenFDs) != "" {
				t.Error("the environment stays")
			}
		})
	}
}

// TestKeepGivesUp has workers that die too often, or do not get ready.
func TestKeepGivesUp(t *testing.T) {
	for _, c := range []struct {
		name, want string
		do         func(k *kept)
	}{
		{"not ready", "3 --keep: recentfs did not get ready", func(k *kept) {
			k.do("fail")
			k.kill()
		}},
		{"dies all the time", "1 --keep: recentfs died 5 times within 10s: queues and mounts are given up", func(k *kept) {
			for range burst {
				k.kill()
				k.await("a a of first, b b of first")
			}
			k.kill()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := keep(t)
			k.await("one")
			c.do(k)
			k.end(c.want)
		})
	}
}

func (k *kept) kill() {
	k.Helper()
	if err := syscall.Kill(k.pid, syscall.SIGKILL); err != nil {
		k.Fatal(err)
	}
}

// TestStrangersMessages sends a keeper messages of a process that is not its worker, and
// of another user's that has its number.
func TestStrangersMessages(t *testing.T) {
	k := &keeper{store: make(Held), drained: make(chan struct{}), last: newWorker(1)}
	if err := k.listen(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { k.serve(); close(done) }()
	before := lab.Descriptors(t)
	for _, user := range []uint32{0, 0, 65534} {
		dir := lab.TempDir(t)
		if err := os.Chown(dir, int(user), -1); err != nil {
			t.Fatal(err)
		}
		stranger := exec.Command("/proc/self/exe")
		stranger.Env = []string{workEnv + "=" + dir, notifySocket + "=" + k.socket.LocalAddr().String()}
		stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		k.mu.Lock()
		err := stranger.Start()
		if err == nil && user != 0 {
			k.last.pid = stranger.Process.Pid
		}
		k.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		lab.Eventually(t, "it has sent its messages", func() error {
			_, err := os.Stat(filepath.Join(strings.TrimPrefix(stranger.Env[0], workEnv+"="), "said"))
			return err
		})
		if err := stranger.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = stranger.Wait() // with 7
	}
	if _, err := k.socket.WriteTo(nil, k.socket.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	<-k.drained
	if now := lab.Descriptors(t); now != before || len(k.store) > 0 || isClosed(k.last.ready) {
		t.Errorf("it has %d descriptors, and had %d; it keeps %v; ready: %t", now, before, k.store, isClosed(k.last.ready))
	}
	k.socket.Close()
	<-done
}
