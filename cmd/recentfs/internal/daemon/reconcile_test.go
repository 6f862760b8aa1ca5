package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"recentfs/capture/nfqueue"
	"recentfs/match/recent"
	"recentfs/namespaces"
	"recentfs/tests/lab"
)

// TestRefusedNamespace: a namespace comes whose queue another program holds, and
// then releases.
func TestRefusedNamespace(t *testing.T) {
	vs := invite(t, []string{"visitor"})
	vs.end()
	path := filepath.Join(lab.NetnsDir, "visitor")
	ns, err := namespaces.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var log bytes.Buffer // guarded by Server.mu: only reconcile warns here
	s := newConfig(t, []string{"visitor"}, seenRules).start(t, &log)
	served := func() (instances int, warnings string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.instances), log.String()
	}
	if n, _ := served(); n != 1 {
		t.Fatalf("%d instances", n)
	}
	vs.leave(t)
	lab.Eventually(t, "the namespace is let go", func() error {
		if n, _ := served(); n != 0 {
			return errors.New("the instance of a namespace without a name is still there")
		}
		return nil
	})

	var other *nfqueue.Queue
	if err := ns.Do(func() (err error) { other, err = openQueue(0, nfqueue.Options{}); return err }); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { return lab.Bind("/proc/thread-self/ns/net", path) }); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the server warns", func() error {
		if _, warnings := served(); warnings == "" {
			return errors.New("no warning that the queue is taken")
		}
		return nil
	})
	again := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reconcile(true)
	}
	again()
	n, warnings := served()
	if n != 0 || strings.Count(warnings, "\n") != 1 ||
		!strings.Contains(warnings, "queue 0") || !strings.Contains(warnings, "tries again every 10s") {
		t.Errorf("%d instances, and the log is %q", n, warnings)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	again()
	if n, _ := served(); n != 1 {
		t.Errorf("%d instances, now that the queue is free", n)
	}
	if out, err := inMount(s, "stat", "ns/visitor/seen"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestOwnerWhileReloading writes ip_list_uid during a reload: the write does not
// wait, and counts for new tables of all namespaces.
func TestOwnerWhileReloading(t *testing.T) {
	invite(t, []string{"visitor0", "visitor1"}).end()
	s := newServer(t, []string{"visitor0", "visitor1"})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers.setOwner("ip_list_uid", 7)
	s.answers.setOwner("ip_list_gid", 8)
	if p := s.answers.module.Params(); p.UID != 7 || p.GID != 8 {
		t.Errorf("parameters %d and %d", p.UID, p.GID)
	}
	for _, i := range s.instances {
		rules, err := i.registry.CheckAll([]recent.Info{{Name: "new", CheckSet: recent.Set, Mask: recent.AllOnes}})
		if err != nil {
			t.Fatal(err)
		}
		if a := i.registry.Table("new").Attr(); a.UID != 7 || a.GID != 8 {
			t.Errorf("%s: a new table is %d's and %d's", i.name, a.UID, a.GID)
		}
		i.registry.Destroy(rules[0])
	}
}

// TestFirstRefused starts where another program holds the queue of one of two
// namespaces. If that was named, it is an error, which leaves nothing behind. Among
// all of them it is refused, and the other is served.
func TestFirstRefused(t *testing.T) {
	lab.NewNamed(t, "red")
	lab.NewNamed(t, "blue")
	ns, err := namespaces.Open(filepath.Join(lab.NetnsDir, "blue"))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var other *nfqueue.Queue
	if err := ns.Do(func() (err error) { other, err = openQueue(0, nfqueue.Options{}); return err }); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	const why = "network namespace blue: queue 0: taken by process "
	t.Run("named", func(t *testing.T) {
		defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would close files that are forgotten
		c := newConfig(t, []string{"red", "blue"}, seenRules)
		before, descriptors := list(t, filepath.Dir(c.Rules)), 0
		for range 3 {
			s := c.new(t, os.Stderr)
			if err := s.Start(t.Context()); err == nil || !strings.HasPrefix(err.Error(), why) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, why)
			}
			if after := list(t, filepath.Dir(c.Rules)); !slices.Equal(after, before) {
				t.Errorf("it leaves %q, and found %q", after, before)
			}
			if descriptors == 0 {
				descriptors = lab.Descriptors(t) // what Go itself opens is open now
			}
			lab.Eventually(t, "no descriptor is left", func() error {
				if now := lab.Descriptors(t); now > descriptors {
					return fmt.Errorf("%d are open, and were %d", now, descriptors)
				}
				return nil
			})
		}
	})
	t.Run("all", func(t *testing.T) {
		var log lab.Output
		s := newConfig(t, []string{"all"}, seenRules).start(t, &log)
		for name, want := range map[string]string{"red": "seen", "blue": "network namespace blue has no rules here: see 'recentfs run --netns'"} {
			if got := tableOf(s, name); got != want {
				t.Errorf("the rules of %s: %s, want %s", name, got, want)
			}
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, why) || !strings.Contains(got, "the namespace has no tables for now: recentfs tries again every 10s") {
			t.Errorf("it says %q", got)
		}
		if folders, err := inMount(s, "ls", "ns"); err != nil || strings.Contains(string(folders), "blue") {
			t.Errorf("the folders are %q, %v", folders, err)
		}
	})
}

// TestFolderInTheWay has a namespace come whose folder is there already.
func TestFolderInTheWay(t *testing.T) {
	lab.NewNamed(t, "red")
	blue := lab.NewNetns(t)
	var log lab.Output
	s := newConfig(t, []string{"all"}, noQueue).start(t, &log)
	if _, err := s.folders.Add("blue"); err != nil {
		t.Fatal(err)
	}
	blue.Attach(t, "blue")
	lab.Eventually(t, "blue is refused", func() error {
		if got := log.String(); !strings.Contains(got, `there is a folder \"blue\" already; the namespace has no tables for now`) {
			return errors.New(got)
		}
		return nil
	})
	s.folders.Remove("blue")
	s.check()
	if got := tableOf(s, "blue"); got != "seen" {
		t.Errorf("the rules of blue: %s", got)
	}
}

// TestGoneBadly has a namespace go whose instance cannot be taken down as it should.
func TestGoneBadly(t *testing.T) {
	lab.NewNamed(t, "red")
	var log lab.Output
	s := newConfig(t, []string{"red"}, noQueue).start(t, &log)
	s.mu.Lock()
	for _, i := range s.instances {
		if err := i.held.Close(); err != nil {
			t.Error(err)
		}
	}
	s.mu.Unlock()
	if err := lab.Detach("red"); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "it says so", func() error {
		if got := log.String(); !strings.Contains(got, "network namespace red: close ") || !strings.Contains(got, "file already closed") {
			return errors.New(got)
		}
		return nil
	})
	if got := s.summary(); got != "0 queues in 0 network namespaces" {
		t.Errorf("the rules are for %s", got)
	}
}

// TestSelf has the links lead processes to their tables, as long as there are any.
func TestSelf(t *testing.T) {
	red := lab.NewNamed(t, "red")
	sleeper := exec.Command("sleep", "infinity")
	if err := red.Start(sleeper); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, []string{"red"})
	folder := filepath.Join(s.tables.Dir(), "ns/red")
	for _, c := range []struct {
		name string
		pid  int
		want string
	}{
		{"a process in a namespace that is served", sleeper.Process.Pid, folder},
		{"in another", os.Getpid(), nowhere},
		{"that has ended", ended.Process.Pid, nowhere},
	} {
		if got := s.answers.dirOf(uint32(c.pid)); got != c.want {
			t.Errorf("a process %s has its tables in %s, want %s", c.name, got, c.want)
		}
	}
	if err := lab.Detach("red"); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the namespace is let go", func() error {
		if got := s.answers.dirOf(uint32(sleeper.Process.Pid)); got != nowhere {
			return fmt.Errorf("the tables of its process are in %s", got)
		}
		return nil
	})
}
