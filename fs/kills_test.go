package fs

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// TestKills kills one server after the other, at random moments, while programs write
// and read. Each write that returned is there once, no open file gets an error, and
// nobody waits for ever.
func TestKills(t *testing.T) {
	outlive(t, lab.Soak(40, 1000), func(h *holder, n int) {
		if n%4 == 0 {
			// It may not be ready yet.
			time.AfterFunc(rand.N(300*time.Millisecond), func() { _ = h.server.Process.Kill() })
			if said := h.ready(); said != "" && said != "ready" {
				t.Fatalf("server %d says %q", n, said)
			}
			_ = h.server.Wait()
			h.socket.Close()
			return
		}
		if said := h.ready(); said != "ready" {
			t.Fatalf("server %d says %q", n, said)
		}
		kill := time.NewTimer(rand.N(50 * time.Millisecond))
		<-kill.C
		h.kill()
	})
}

// TestLeaving has one server after the other leave.
func TestLeaving(t *testing.T) {
	outlive(t, 20, func(h *holder, n int) {
		if said := h.ready(); said != "ready" {
			t.Fatalf("server %d says %q", n, said)
		}
		h.leave()
	})
}

// outlive has many servers. end ends the n-th one, which has been started.
func outlive(t *testing.T, servers int, end func(h *holder, n int)) {
	h := newHolder(t, "a b c")
	// The addresses that the adder removes come first, so that what it does moves the
	// lines after them.
	fill := ""
	for i := range crowd {
		fill += "echo +" + address(20, i) + " > b;"
	}
	for i := range steady {
		fill += "echo +" + address(9, i) + " > b; echo +" + address(9, i) + " > c;"
	}
	h.sh(fill)
	var all []*client
	for i, kind := range []string{"adder b", "echo a", "writer a", "reader b", "crumbs c", "stat b"} {
		kind, table, _ := strings.Cut(kind, " ")
		all = append(all, h.client(kind, table, 20+i))
	}
	h.kill()
	for n := range servers {
		h.start("")
		end(h, n)
	}
	h.next()
	acknowledged := make(map[string]bool)
	done := make(map[string]int)
	for _, c := range all {
		times := c.stop(t)
		done[c.kind] = times
		if c.kind == "echo" || c.kind == "writer" {
			for i := range times {
				acknowledged[address(c.id, i)] = true
			}
		}
	}
	t.Logf("after %d servers the clients did their work so often: %v", servers, done)
	for kind, times := range done {
		if times == 0 {
			t.Errorf("client %s did nothing", kind)
		}
	}
	for line := range strings.Lines(h.sh("cat a")) {
		fields := strings.Fields(line)
		a := strings.TrimPrefix(fields[0], "src=")
		if !acknowledged[a] || len(fields) != 8 {
			t.Errorf("the table has %q", strings.TrimSpace(line))
		}
		delete(acknowledged, a)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d writes are not there: %.200v", len(acknowledged), acknowledged)
	}
	want := steady + max(0, crowd-done["adder"])
	if got := strings.Count(h.sh("cat b"), "\n"); got != want {
		t.Errorf("the other table has %d addresses, want %d", got, want)
	}
}
