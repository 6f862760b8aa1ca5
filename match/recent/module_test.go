package recent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"

	"recentfs/match/jiffies"
)

func newModule(t *testing.T, change func(*Params)) *Module {
	t.Helper()
	p := DefaultParams(Modern)
	if change != nil {
		change(&p)
	}
	m, err := NewModule(p, jiffies.NewManual(1000, testHZ))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestOwnerOfSeveralRegistries changes the owner of new tables between tables
// of two registries. Tables that were there keep their owner.
func TestOwnerOfSeveralRegistries(t *testing.T) {
	m := newModule(t, func(p *Params) { p.UID, p.GID = 7, 8 })
	one, other := m.NewRegistry(nil), m.NewRegistry(nil)
	add := func(r *Registry, name string) {
		t.Helper()
		if _, err := check(r, Info{Name: name, CheckSet: Set, Mask: AllOnes}); err != nil {
			t.Fatal(err)
		}
	}
	add(one, "before")
	m.SetUID(70)
	m.SetGID(80)
	add(one, "after")
	add(other, "after")
	for _, c := range []struct {
		reg      *Registry
		name     string
		uid, gid uint32
	}{{one, "before", 7, 8}, {one, "after", 70, 80}, {other, "after", 70, 80}} {
		if a := c.reg.Table(c.name).Attr(); a.UID != c.uid || a.GID != c.gid {
			t.Errorf("table %s is owned by %d and %d, want %d and %d", c.name, a.UID, a.GID, c.uid, c.gid)
		}
	}
	if p := m.Params(); p.UID != 70 || p.GID != 80 || p.ListTot != 100 {
		t.Errorf("the module's parameters are %+v", p)
	}
	m.SetUID(noID)
	if _, err := check(other, Info{Name: "refused", CheckSet: Set, Mask: AllOnes}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a table without an owner: %v", err)
	}
}

// TestEventsOfSeveralRules sends the events of one CheckAll in the order of
// the rules, one for each table that is new.
func TestEventsOfSeveralRules(t *testing.T) {
	w := newWorld(t, nil, Modern)
	w.rule(Info{CheckSet: Set, Name: "old"})
	var events []string
	w.watch = func(e Event) { events = append(events, fmt.Sprint(e.Table.Name(), " ", e.Gone)) }
	checkAll := func(names ...string) []*Rule {
		t.Helper()
		var infos []Info
		for _, name := range names {
			infos = append(infos, Info{Name: name, CheckSet: Set, Mask: AllOnes})
		}
		rules, err := w.CheckAll(infos)
		if err != nil {
			t.Fatal(err)
		}
		return rules
	}
	rules := checkAll("z", "old", "a", "z", "m")
	for _, rule := range rules {
		w.Destroy(rule)
	}
	want := []string{"z false", "a false", "m false", "a true", "z true", "m true"}
	if !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
	events = nil
	if _, err := w.CheckAll([]Info{{Name: "good", CheckSet: Set, Mask: AllOnes}, {Name: "bad"}}); err == nil || events != nil {
		t.Errorf("rules that were refused: %v, events %q", err, events)
	}
}

// TestGhosts holds back the event of a table that came until the table is gone,
// as the scheduler may: a list that asks Gone does not keep the table.
func TestGhosts(t *testing.T) {
	var mu sync.Mutex
	shown := make(map[*Table]bool)
	late, arrived := make(chan struct{}), make(chan struct{})
	receive := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if delete(shown, e.Table); !e.Gone && !e.Table.Gone() {
			shown[e.Table] = true
		}
	}
	reg := newModule(t, nil).NewRegistry(func(e Event) {
		if !e.Gone {
			close(arrived)
			<-late
		}
		receive(e)
	})
	rule := make(chan *Rule)
	go func() {
		first, err := check(reg, Info{Name: "t", CheckSet: Set, Mask: AllOnes})
		if err != nil {
			t.Error(err)
		}
		rule <- first
	}()
	<-arrived
	// A second rule of the table, made and destroyed by another goroutine, is
	// not its last. The first is: its maker is still busy with the event.
	second, err := check(reg, Info{Name: "t", CheckSet: Check, Mask: AllOnes})
	if err != nil {
		t.Fatal(err)
	}
	reg.Destroy(second)
	table := reg.Table("t")
	reg.Destroy(&Rule{table: table})
	close(late)
	<-rule
	if len(shown) != 0 || !table.Gone() {
		t.Errorf("tables shown after their end: %d", len(shown))
	}
}
