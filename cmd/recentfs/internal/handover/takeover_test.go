package handover

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// TestTake gives descriptors to another process, or refuses.
func TestTake(t *testing.T) {
	path := filepath.Join(lab.TempDir(t), "handover.sock")
	if _, err := Take(path); err == nil || !strings.Contains(err.Error(), "is a 'recentfs run --state' running") {
		t.Errorf("without a process: %v", err)
	}
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info, err)
	}
	given := make(Held)
	for i := range 300 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "%d", i)
		w.Close()
		defer r.Close()
		given.add(fmt.Sprint("name", i/2), int(r.Fd()))
	}
	for _, c := range []struct {
		name  string
		serve func(*Successor) error
		want  string
	}{
		{"all", func(n *Successor) error { return n.Give(given) }, ""},
		{"it dies", func(n *Successor) error { return nil }, "the other process ended before it had given everything"},
	} {
		t.Run(c.name, func(t *testing.T) {
			go func() {
				n, err := s.Accept()
				if err == nil {
					err = c.serve(n)
					n.Close()
				}
				if err != nil {
					t.Error(err)
				}
			}()
			held, err := Take(path)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("the error is %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range 150 {
				got := ""
				for _, fd := range held.Take(fmt.Sprint("name", i)) {
					f := os.NewFile(uintptr(fd), "")
					b, err := io.ReadAll(f)
					if err != nil {
						t.Fatal(err)
					}
					got += string(b) + " "
					f.Close()
				}
				if want := fmt.Sprint(2*i, " ", 2*i+1, " "); got != want {
					t.Errorf("name%d has %q, want %q", i, got, want)
				}
			}
			if left := held.Close(); len(left) > 0 {
				t.Errorf("left are %q", left)
			}
		})
	}
}

// TestOthersQuestions asks for a takeover in ways that are refused.
func TestOthersQuestions(t *testing.T) {
	path := filepath.Join(lab.TempDir(t), "handover.sock")
	s, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		if n, err := s.Accept(); err == nil {
			t.Error("it gives way")
			n.Close()
		}
	}()
	if err := os.Chmod(path, 0o666); err != nil { // somebody has opened it to all
		t.Fatal(err)
	}
	const other = 65534
	for _, c := range []struct {
		name, ask, want string
		user            uint32
	}{
		{"another version", "recentfs takeover 2", `this recentfs knows "recentfs takeover 1" only: stop it, and start the other`, 0},
		{"nothing", "", "", 0},
		{"another user", question, "user 65534 may not take over: run as root", other},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conn net.Conn
			lab.As(t, c.user, func() { conn, err = net.Dial("unixpacket", path) })
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if c.ask != "" {
				if _, err := conn.Write([]byte(c.ask)); err != nil {
					t.Fatal(err)
				}
			}
			b, err := io.ReadAll(conn)
			if err != nil || string(b) != c.want {
				t.Errorf("the answer is %q, %v; want %q", b, err, c.want)
			}
		})
	}
}
