package handover

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// FuzzTake has the process before answer anything to who takes over. What the records
// bring is taken, or closed.
func FuzzTake(f *testing.F) {
	path := filepath.Join(f.TempDir(), "handover.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		f.Fatal(err)
	}
	defer l.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		f.Fatal(err)
	}
	defer null.Close()
	f.Fuzz(func(t *testing.T, records []byte, fds byte) {
		before := lab.Descriptors(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, recordSize))
			for record := range bytes.SplitSeq(records, []byte("|")) {
				var rights []byte
				if fds > 0 {
					rights = unix.UnixRights(bytesOf(int(null.Fd()), int(fds))...)
				}
				_, _, _ = conn.WriteMsgUnix(record, rights, nil) // the other side may have had enough
			}
		}()
		held, err := Take(path)
		<-done
		n := 0
		for _, fds := range held {
			n += len(fds)
		}
		if now := lab.Descriptors(t); now != before+n || err != nil && n > 0 {
			t.Errorf("%d descriptors are open, %d were, and %d are held; %v", now, before, n, err)
		}
		held.Close()
	})
}

// bytesOf are n copies of a descriptor's number.
func bytesOf(fd, n int) (fds []int) {
	for range min(n, maxFDs) {
		fds = append(fds, fd)
	}
	return fds
}

// FuzzReceived has an environment that says anything.
func FuzzReceived(f *testing.F) {
	f.Fuzz(func(t *testing.T, own bool, pid, n, names string) {
		if own {
			pid = fmt.Sprint(os.Getpid())
		}
		for name, value := range map[string]string{listenPID: pid, listenFDs: n, listenNames: names} {
			if os.Setenv(name, value) != nil { // a NUL
				os.Unsetenv(name)
			}
		}
		before := lab.Descriptors(t)
		for name, fds := range Received() { // they are this process's own: they stay open
			if len(fds) > before {
				t.Errorf("%d descriptors of %q, of %d", len(fds), name, before)
			}
		}
	})
}

// FuzzMessage has the worker, or another process, send a keeper anything.
func FuzzMessage(f *testing.F) {
	const worker = 7
	f.Fuzz(func(t *testing.T, pid int32, uid uint32, text string, pipes byte) {
		if int(pid) == os.Getpid() {
			return // which waits for the keeper
		}
		before := lab.Descriptors(t)
		k := &keeper{store: make(Held), last: newWorker(worker)}
		var fds []int
		for range pipes % 5 {
			fd, err := unix.Eventfd(0, 0)
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, fd)
		}
		control := unix.UnixCredentials(&unix.Ucred{Pid: pid, Uid: uid})
		if len(fds) > 0 {
			control = append(control, unix.UnixRights(fds...)...)
		}
		k.message(text, control)
		if isWorker := pid == worker && (uid == 0 || int(uid) == os.Geteuid()); !isWorker && (len(k.store) > 0 || isClosed(k.last.ready)) {
			t.Errorf("process %d of user %d: stored are %v, ready: %t", pid, uid, k.store, isClosed(k.last.ready))
		}
		k.store.Close()
		if now := lab.Descriptors(t); now != before {
			t.Errorf("%d descriptors are open, and %d were", now, before)
		}
	})
}
