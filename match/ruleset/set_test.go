package ruleset

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

func tableNames(reg *recent.Registry) string {
	var names []string
	for _, t := range reg.Tables() {
		names = append(names, t.Name())
	}
	return strings.Join(names, " ")
}

// TestReferences: a table lives as long as a rule of a set refers to it.
func TestReferences(t *testing.T) {
	reg, _ := newRegistry(t, classic)
	first, err := mustParse(t, ssh, classic).Load(reg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := mustParse(t, everything, classic).Load(reg)
	if err != nil {
		t.Fatal(err)
	}
	if got := tableNames(reg); got != "A SSH" {
		t.Errorf("tables %q, want A and SSH", got)
	}
	first.Close()
	first.Close()
	if got := tableNames(reg); got != "A" {
		t.Errorf("tables %q, want A", got)
	}
	first.Queue(0).Decide([]capture.Packet{v4}, start)
	second.Close()
	if got := tableNames(reg); got != "" {
		t.Errorf("tables %q, want none", got)
	}
}

// TestExpandedReferences: each rule of a list of addresses has its own.
func TestExpandedReferences(t *testing.T) {
	b := load(t, document("-s 192.0.2.1,192.0.2.2 -m recent --set --name A"))
	if n := len(b.taken); n != 2 {
		t.Errorf("%d references, want 2", n)
	}
	b.decide(with(v4, func(p *capture.Packet) { p.Queue = 7 }))
	if n := addresses(t, b.reg.Table("A")); n != 1 {
		t.Errorf("%d addresses, want 1", n)
	}
}

// TestLoadFails: if there is no memory for a table, Load leaves no table.
func TestLoadFails(t *testing.T) {
	p := modern
	p.ListTot, p.PktListTot = recent.MaxListTot, 1
	reg, _ := newRegistry(t, p)
	f := mustParse(t, "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -m recent --set --name A\n"+
		"-A QUEUE0 -m recent --rcheck --hitcount 65535 --name B\nCOMMIT\n", p)
	s, err := f.Load(reg)
	if err == nil {
		s.Close()
		t.Fatal("there were 512 TB of address space")
	}
	if !errors.Is(err, syscall.ENOMEM) || !strings.HasPrefix(err.Error(), `rules:4: -m recent: table "B": `) {
		t.Errorf("error %q, want ENOMEM for line 4", err)
	}
	if got := tableNames(reg); got != "" {
		t.Errorf("tables %q are left", got)
	}
}

// TestQueuesAtOnce: queues decide at the same time while counters are read.
func TestQueuesAtOnce(t *testing.T) {
	b := load(t, "*recent\n:QUEUE0-3 ACCEPT\n:a -\n-A QUEUE0-3 -j a\n-A a -m recent --set --name A\n-A a -j LOG\nCOMMIT\n")
	const packets = 1000
	var wg sync.WaitGroup
	for _, n := range b.file.Queues() {
		wg.Go(func() {
			batch := []capture.Packet{with(v4, func(p *capture.Packet) { p.Queue = n })}
			for range packets {
				b.Queue(n).Decide(batch, b.clock.Now())
			}
		})
	}
	for range 100 {
		b.saved(t, true)
		b.LogsDropped()
	}
	wg.Wait()
	if got, want := b.saved(t, true), fmt.Sprintf("[%d:%d] -A a -j LOG", 4*packets, 4*packets*60); !strings.Contains(got, want) {
		t.Errorf("counters:\n%s\nwant %s", got, want)
	}
	if n := len(b.Logs()); n != logBurst {
		t.Errorf("%d records, want %d", n, logBurst)
	}
	if n := b.LogsDropped(); n != 4*packets-logBurst {
		t.Errorf("%d records dropped, want %d", n, 4*packets-logBurst)
	}
}

// TestLogLimit: each rule logs a burst, then two packets a second.
func TestLogLimit(t *testing.T) {
	b := load(t, "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -p tcp -j LOG --log-prefix tcp\n-A QUEUE0 -p udp -j LOG --log-prefix udp\nCOMMIT\n")
	logged := func(p capture.Packet, n int) int {
		for range n {
			b.decide(p)
		}
		n = len(b.Logs())
		for range n {
			<-b.Logs()
		}
		return n
	}
	for _, c := range []struct {
		name    string
		advance func()
		packet  capture.Packet
		want    int
	}{
		{"burst", func() {}, v4, 10},
		{"at once", func() {}, v4, 0},
		{"other rule", func() {}, with(v4, udp), 10},
		{"just before half a second", func() { b.clock.Advance(499 * time.Millisecond) }, v4, 0},
		{"half a second", func() { b.clock.Advance(time.Millisecond * 4) }, v4, 1},
		{"two seconds", func() { b.clock.Advance(2 * time.Second) }, v4, 4},
		{"an hour", func() { b.clock.Advance(time.Hour) }, v4, 10},
		{"clock set back", func() { b.clock.Set(b.clock.Now() - 7200*hz) }, v4, 10},
	} {
		c.advance()
		if got := logged(c.packet, 20); got != c.want {
			t.Errorf("%s: %d of 20 packets logged, want %d", c.name, got, c.want)
		}
	}
}

// TestLogFull: a record that does not fit is counted; nothing waits.
func TestLogFull(t *testing.T) {
	b := load(t, "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j LOG\nCOMMIT\n")
	for range logBuffer + 5 {
		b.decide(v4)
		b.clock.Advance(time.Second)
	}
	if n := len(b.Logs()); n != logBuffer {
		t.Errorf("%d records, want %d", n, logBuffer)
	}
	if n := b.LogsDropped(); n != 5 {
		t.Errorf("%d records dropped, want 5", n)
	}
}

// FuzzParse saves what Parse takes, reads and saves that again, loads it and
// lets it decide packets.
func FuzzParse(f *testing.F) {
	f.Add([]byte(ssh), false)
	f.Add([]byte(everything), true)
	for _, file := range []string{"iptables.t", "ip6tables.t", "recentfs.t"} {
		for _, c := range readCases(f, file) {
			f.Add([]byte(document(c.rule)), false)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, isModern bool) {
		p := classic
		if isModern {
			p = modern
		}
		file, err := Parse("rules", text, p)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "rules:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		once := saved(t, file)
		again, err := Parse("saved", []byte(once), p)
		if err != nil {
			t.Fatalf("%v, in\n%s", err, once)
		}
		if twice := saved(t, again); twice != once {
			t.Fatalf("saved as\n%s, then as\n%s", once, twice)
		}
		module, err := recent.NewModule(p, jiffies.NewManual(start, hz))
		if err != nil {
			t.Fatal(err)
		}
		reg := module.NewRegistry(nil)
		s, err := file.Load(reg)
		if err != nil {
			t.Fatalf("load: %v", err)
		}
		defer s.Close()
		for _, n := range file.Queues() {
			s.Queue(n).Decide([]capture.Packet{v4, v6, with(v4, udp), {}}, start)
		}
	})
}
