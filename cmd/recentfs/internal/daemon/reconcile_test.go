package daemon

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture/nfqueue"
	"recentfs/match/recent"
	"recentfs/namespaces"
)

// TestRefusedNamespace has a namespace come whose queue somebody else holds,
// until he lets go of it.
func TestRefusedNamespace(t *testing.T) {
	vs := invite(t, []string{"visitor"})
	vs.end()
	ns, err := namespaces.Open(vs.all[0].path())
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var log bytes.Buffer // guarded by Server.mu: only reconcile warns here
	s := startTestServer(t, []string{"visitor"}, &log)
	served := func() (instances int, warnings string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.instances), log.String()
	}
	if n, _ := served(); n != 1 {
		t.Fatalf("%d instances", n)
	}
	vs.leave(t)
	eventually(t, func() error {
		if n, _ := served(); n != 0 {
			return errors.New("the instance of a namespace without a name is still there")
		}
		return nil
	})

	var other *nfqueue.Queue
	if err := ns.Do(func() (err error) { other, err = nfqueue.Open(0); return err }); err != nil {
		t.Fatal(err)
	}
	name := vs.all[0].path()
	if err := os.WriteFile(name, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { return unix.Mount("/proc/thread-self/ns/net", name, "", unix.MS_BIND, "") }); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, warnings := served(); warnings == "" {
			return errors.New("nobody says that the queue is taken")
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

// TestOwnerWhileReloading writes ip_list_uid while somebody has the lock of
// reloads: nobody waits, and it holds for tables of all namespaces.
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
