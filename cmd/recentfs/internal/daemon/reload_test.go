package daemon

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture/nfqueue"
	"recentfs/namespaces"
	"recentfs/tests/lab"
)

// rules are rules with one table for the packets of a queue, or of a range.
func rules(queues, table string) string {
	return fmt.Sprintf("*recent\n:QUEUE%s ACCEPT [0:0]\n-A QUEUE%s -m recent --set --name %s\nCOMMIT\n", queues, queues, table)
}

// tableOf is the table that the rules of a namespace name.
func tableOf(s *Server, netns string) string {
	var text strings.Builder
	if err := s.Rules(&text, netns); err != nil {
		return err.Error()
	}
	_, name, _ := strings.Cut(text.String(), "--name ")
	name, _, _ = strings.Cut(name, " ")
	return name
}

// awaitTable waits until a namespace has the rules with that table.
func awaitTable(t *testing.T, s *Server, netns, want string) {
	t.Helper()
	lab.Eventually(t, "the rules of "+netns, func() error {
		if got := tableOf(s, netns); got != want {
			return fmt.Errorf("the rules of %s name %s, want %s", netns, got, want)
		}
		return nil
	})
}

// TestReloadNamespaces reloads rules while namespaces come and go. The namespaces
// that exist get the new rules, and so do those that come later.
func TestReloadNamespaces(t *testing.T) {
	red, blue := lab.NewNamed(t, "red"), lab.NewNamed(t, "blue")
	c := newConfig(t, []string{"red", "blue"}, rules("0", "old"))
	s := c.start(t, os.Stderr)
	awaitTable(t, s, "red", "old")
	awaitTable(t, s, "blue", "old")
	if err := lab.Detach("blue"); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "blue is gone", func() error {
		if err := s.Rules(io.Discard, "blue"); status(err) != http.StatusNotFound {
			return fmt.Errorf("the rules of a namespace that is gone: %v", err)
		}
		return nil
	})
	write(t, c.Rules, rules("1", "new"))
	if err := s.Reload(io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := blue.Name("blue"); err != nil {
		t.Fatal(err)
	}
	awaitTable(t, s, "blue", "new")
	for name, ns := range map[string]*lab.Netns{"red": red, "blue": blue} {
		if got := tableOf(s, name); got != "new" {
			t.Errorf("the rules of %s name %s", name, got)
		}
		if files, err := inMount(s, "ls", "ns/"+name); err != nil || string(files) != "new\n" {
			t.Errorf("the tables of %s: %q, %v", name, files, err)
		}
		q := ns.Queues(t)
		if _, bound := q[1]; !bound || len(q) != 1 {
			t.Errorf("the queues of %s: %v, want queue 1", name, q)
		}
	}
	if got := s.summary(); got != "2 queues in 2 network namespaces" {
		t.Errorf("the rules are for %s", got)
	}
}

// TestReloadRefused has another program hold a queue of one of two namespaces.
// Rules that need the queue change nothing in either namespace. A namespace that
// was refused because of the queue is tried again with rules that do not need it.
func TestReloadRefused(t *testing.T) {
	red := lab.NewNamed(t, "red")
	blue := lab.NewNamed(t, "blue")
	ns, err := namespaces.Open(lab.NetnsDir + "/blue")
	if err != nil {
		t.Fatal(err)
	}
	var other *nfqueue.Queue
	if err := ns.Do(func() (err error) { other, err = openQueue(5, nfqueue.Options{}); return err }); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ns.Close()
	c := newConfig(t, []string{"red", "blue"}, rules("0", "first"))
	s := c.start(t, io.Discard)

	write(t, c.Rules, rules("4-5", "second"))
	for range 10 { // the order of the namespaces is random
		err := s.Reload(io.Discard)
		if status(err) != http.StatusInternalServerError || !strings.Contains(err.Error(), "network namespace blue: ") || !strings.Contains(err.Error(), "queue 5") {
			t.Fatalf("a reload with a queue that is taken: %v", err)
		}
	}
	for name, want := range map[string]map[int]int{"red": {0: 0}, "blue": {0: 0, 5: 0}} {
		if got := tableOf(s, name); got != "first" {
			t.Errorf("the rules of %s name %s", name, got)
		}
		if files, err := inMount(s, "ls", "ns/"+name); err != nil || string(files) != "first\n" {
			t.Errorf("the tables of %s: %q, %v", name, files, err)
		}
		if q := map[string]*lab.Netns{"red": red, "blue": blue}[name].Queues(t); !maps.Equal(q, want) {
			t.Errorf("the queues of %s: %v, want %v", name, q, want)
		}
	}

	if err := lab.Detach("blue"); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "blue is gone", func() error {
		if got := s.summary(); got != "1 queue in 1 network namespace" {
			return errors.New(got)
		}
		return nil
	})
	if err := s.Reload(io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := blue.Name("blue"); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "blue is refused", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.refused) != 1 {
			return fmt.Errorf("refused: %v", s.refused)
		}
		return nil
	})
	write(t, c.Rules, rules("6", "third"))
	if err := s.Reload(io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"red", "blue"} {
		if got := tableOf(s, name); got != "third" {
			t.Errorf("the rules of %s name %s", name, got)
		}
	}
}

// TestReloadsInTurn has a reload wait for another from before it reads the rules.
func TestReloadsInTurn(t *testing.T) {
	lab.NeedRoot(t)
	c := newConfig(t, nil, noQueue)
	s := c.start(t, os.Stderr)
	if err := os.Remove(c.Rules); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(c.Rules, 0o600); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock() // the reload waits for it after it has read the rules
	done := make(chan error)
	go func() { done <- s.Reload(io.Discard) }()
	write(t, c.Rules, strings.ReplaceAll(noQueue, "seen", "first")) // returns once it is being read
	if s.reloading.TryLock() {
		t.Error("another reload could begin")
		s.reloading.Unlock()
	}
	s.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() { done <- s.Reload(io.Discard) }()
	write(t, c.Rules, strings.ReplaceAll(noQueue, "seen", "second"))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := tableOf(s, ""); got != "second" {
		t.Errorf("the rules name %s", got)
	}
}
