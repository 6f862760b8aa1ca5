package daemon

import (
	"bytes"
	"errors"
	"path/filepath"
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
	if err := ns.Do(func() (err error) { other, err = nfqueue.Open(0); return err }); err != nil {
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
