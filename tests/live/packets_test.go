package live

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/tests/lab"
)

const (
	liveWorlds   = 6   // namespaces at work at once: while one waits, another works
	liveRulesets = 180 // in all of them together
)

// TestLivePackets sends random packets through random rules of the kernel, then
// through the same rules of ours. It compares the tables and the rules' counters.
func TestLivePackets(t *testing.T) {
	needKernel(t)
	t.Parallel()
	var total packetTally
	var wg sync.WaitGroup
	for n := range liveWorlds {
		wg.Go(func() {
			t.Run(fmt.Sprintf("world %d", n), func(t *testing.T) {
				w := newWorld(t, n)
				for i := n; i < liveRulesets && !t.Failed(); i += liveWorlds {
					w.compare(i, &total)
				}
			})
		})
	}
	wg.Wait()
	t.Logf("seed %d: %v", *liveSeed, &total)
	if total.full.Load() == 0 && !t.Failed() {
		t.Error("no table was ever full: nothing had to make room")
	}
}

// packetTally counts what was compared.
type packetTally struct {
	rulesets, rules, packets, writes, tables, full, entries, stamps, late, repeated atomic.Int64
}

func (c *packetTally) String() string {
	return fmt.Sprintf("%d rulesets of %d rules, %d packets and %d writes; tables compared %d times, %d times full, with %d entries and %d stamps in all, "+
		"%d of them more than a jiffy apart in a step that took as long; %d rulesets done again because time was short",
		c.rulesets.Load(), c.rules.Load(), c.packets.Load(), c.writes.Load(), c.tables.Load(), c.full.Load(), c.entries.Load(), c.stamps.Load(),
		c.late.Load(), c.repeated.Load())
}

// compare does one ruleset. It tries again if the steps came at such times that
// the two sides may differ: a stamp at the edge of a window.
func (w *world) compare(i int, total *packetTally) {
	const tries = 20
	for try := range tries {
		s := newScenario(rand.New(rand.NewPCG(*liveSeed, uint64(i))), fmt.Sprintf("%d.%d.", i, try))
		r := &run{world: w, scenario: s}
		r.do()
		if r.edge() {
			total.repeated.Add(1)
			continue
		}
		r.count.addTo(total)
		for _, d := range r.differences {
			w.t.Errorf("seed %d, ruleset %d: %s", *liveSeed, i, d)
		}
		if len(r.differences) > 0 {
			w.t.Errorf("the rules:\n%s", s.ours())
		}
		return
	}
	w.t.Errorf("ruleset %d: none of %d tries had its steps in time: the machine is too slow", i, tries)
}

// run is one try at a scenario.
type run struct {
	*world
	*scenario
	spans       []span
	differences []string
	count       counts
}

// span is when a step began and when both sides were done with it.
type span struct{ from, to jiffies.Jiffies }

type counts struct{ rules, packets, writes, tables, full, entries, stamps, late int64 }

func (c *counts) addTo(total *packetTally) {
	total.rulesets.Add(1)
	total.rules.Add(c.rules)
	total.packets.Add(c.packets)
	total.writes.Add(c.writes)
	total.tables.Add(c.tables)
	total.full.Add(c.full)
	total.entries.Add(c.entries)
	total.stamps.Add(c.stamps)
	total.late.Add(c.late)
}

// do loads the rules and takes the steps, up to the first difference.
func (r *run) do() {
	r.load()
	start := time.Now()
	for _, step := range r.steps {
		time.Sleep(time.Until(start.Add(step.at)))
		from := r.clock.Now()
		switch {
		case step.widen != "":
			r.compareCounts()
			r.widen(step.widen)
			r.load()
		case step.write != "":
			r.write(step.table, step.write)
		default:
			r.burst(step.packets)
		}
		r.spans = append(r.spans, span{from, r.clock.Now()})
		r.compareTables()
		if len(r.differences) > 0 {
			return
		}
	}
	r.compareCounts()
}

// edge reports whether two steps are as far apart as a window of a rule is
// long, so that a jiffy decides what a rule says.
func (r *run) edge() bool {
	const slack = 2 // jiffies by which this clock differs from the kernel's and the daemon's
	for _, window := range r.windows(r.hz) {
		for i, a := range r.spans {
			for _, b := range r.spans[i:] {
				if b.from.Sub(a.to)-slack <= window && window <= b.to.Sub(a.from)+slack {
					return true
				}
			}
		}
	}
	return false
}

// load gives the rules to both.
func (r *run) load() {
	r.t.Helper()
	script := ""
	for _, f := range lab.Families {
		script += fmt.Sprintf("%s-legacy-restore -w <<'END'\n%sEND\n", f.Tool, r.kernels(f))
	}
	r.ns.Sh(r.t, script)
	r.d.SetRules(r.ours())
	r.d.Ask("reload")
	r.count.rules = int64(len(r.rules))
}

// write writes the same to the table's two files.
func (r *run) write(table, text string) {
	r.t.Helper()
	r.count.writes++
	kernel, err := unix.Openat(r.tables, table, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer unix.Close(kernel)
	_, kerr := unix.Write(kernel, []byte(text))
	oerr := os.WriteFile(r.d.File(table), []byte(text), 0)
	if kerr != nil || oerr != nil {
		r.t.Fatalf("write %q to %s: kernel %v, ours %v", text, table, kerr, oerr)
	}
}

// burst sends packets and waits until the daemon has decided on all of them.
func (r *run) burst(packets []livePacket) {
	r.t.Helper()
	r.count.packets += int64(len(packets))
	_, before := r.queueState()
	var err error
	r.send(func() {
		for i := range packets {
			if err == nil {
				err = r.emit(&packets[i])
			}
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	deadline := time.Now().Add(lab.Patience)
	for {
		waiting, came := r.queueState()
		if waiting == 0 && came-before == uint32(len(packets)) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("seed %d: of %d packets %d came to the queue and %d wait:\n%v\n%s", *liveSeed, len(packets), came-before, waiting, packets, r.ours())
		}
		time.Sleep(20 * time.Microsecond)
	}
}
