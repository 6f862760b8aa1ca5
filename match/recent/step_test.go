package recent

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/tests/lab"
)

// steppedEnv names the operation that a child process does, one instruction at a
// time: TestEachInstruction.
const steppedEnv = "RECENTFS_TEST_STEPPED"

func init() {
	if os.Getenv(steppedEnv) != "" {
		lab.LockStepped()
	}
}

func TestMain(m *testing.M) {
	if name := os.Getenv(steppedEnv); name != "" {
		stepped(name)
		return
	}
	os.Exit(m.Run())
}

// operation is one kind of change, on a table of 4 addresses with 3 stamps each.
type operation struct {
	name  string
	do    func(w *world)
	noted noting
}

// noting is how it can be told later whether an operation was done.
type noting uint8

const (
	matches    noting = iota // a packet has a receipt: the rule matches
	misses                   // the same, but the rule does not match
	byCount                  // the table counts its changes
	idempotent               // it need not be told
)

// operations are done after those of crowd.
var operations = []operation{
	{"a new address takes the place of the least recently seen", func(w *world) { w.arrives(w.rules["set"], "192.0.2.9", 9) }, matches},
	{"a new address takes a free slot", func(w *world) { w.arrives(w.rules["set"], "2001:db8::9", 9) }, matches},
	{"a new address takes a slot that was never used", func(w *world) { w.arrives(w.rules["set"], "192.0.2.9", 9) }, matches},
	{"a known address is set, its ring full", func(w *world) { w.arrives(w.rules["set"], "192.0.2.1", 9) }, matches},
	{"a known address is set, its ring not full", func(w *world) { w.arrives(w.rules["set"], "192.0.2.3", 9) }, matches},
	{"an update matches", func(w *world) { w.arrives(w.rules["update"], "192.0.2.1", 9) }, matches},
	{"an update matches and reaps", func(w *world) { w.arrives(w.rules["reap"], "192.0.2.1", 9) }, matches},
	{"a check reaps", func(w *world) { w.arrives(w.rules["check"], "192.0.2.2", 9) }, misses},
	{"a remove", func(w *world) { w.arrives(w.rules["remove"], "192.0.2.2", 9) }, matches},
	{"+ of a new address", func(w *world) { w.must("+192.0.2.9") }, byCount},
	{"+ of a known address", func(w *world) { w.must("+192.0.2.2") }, byCount},
	{"- of a known address", func(w *world) { w.must("-192.0.2.1") }, byCount},
	{"/ in place", func(w *world) {
		w.Table("t").where = lessMemory(0)
		w.must("/")
	}, idempotent},
	{"a merge takes the place of the least recently seen", func(w *world) { w.merges("192.0.2.9", 2, 1065) }, byCount},
	{"a merge takes a free slot", func(w *world) { w.merges("2001:db8::9", 2, 3, 1075) }, byCount},
	{"a merge takes a slot that was never used", func(w *world) { w.merges("192.0.2.9", 2) }, byCount},
	{"a merge gives older stamps", func(w *world) { w.merges("192.0.2.3", 5, 6) }, byCount},
	{"a merge gives a newer stamp", func(w *world) { w.merges("192.0.2.2", 1, 1075) }, byCount},
	{"a merge gives the newest stamp, the ring full", func(w *world) { w.merges("192.0.2.1", 1035, 1081) }, byCount},
	{"chmod and chown", func(w *world) {
		_ = w.Table("t").Chattr(func(a *Attr) { *a = Attr{0o600, 1 << 20, 1 << 21} })
	}, idempotent},
}

func (w *world) merges(host string, stamps ...jiffies.Jiffies) {
	w.merge(w.Table("t").Merger(), modelEntry{host, 9, stamps})
}

func (w *world) must(text string) {
	if err := w.write("t", text); err != nil {
		w.Fatal(err)
	}
}

// crowd fills the table before an operation.
func crowd(w *world, operation string) {
	w.rules = map[string]*Rule{
		"set":    w.rule(Info{CheckSet: Set}),
		"update": w.rule(Info{CheckSet: Update, Seconds: 60, HitCount: 2}),
		"reap":   w.rule(Info{CheckSet: Update | Reap, Seconds: 60}),
		"check":  w.rule(Info{CheckSet: Check | Reap, Seconds: 60}),
		"remove": w.rule(Info{CheckSet: Remove}),
	}
	step := jiffies.Jiffies(1)
	if strings.Contains(operation, "merge") {
		step = 10 // so that there is something in between
	}
	see := func(a string) {
		w.clock.Set(w.clock.Now() + step)
		w.arrives(w.rules["set"], a, 64)
	}
	for range 5 {
		see("192.0.2.1")
	}
	see("192.0.2.2")
	see("192.0.2.3")
	if !strings.Contains(operation, "never used") {
		see("192.0.2.4")
	}
	if strings.Contains(operation, "reap") {
		w.clock.Set(w.clock.Now() + 100*testHZ)
		see("192.0.2.1")
	}
	if strings.Contains(operation, "free slot") {
		w.must("-192.0.2.2")
	}
	w.clock.Set(w.clock.Now() + 7)
}

// memfd is a Memory with one region, in a file that another process maps too.
type memfd struct{ *os.File }

func (memfd) Find(string) []Left { return nil }

func (m memfd) Make(size uint64) (Mapping, error) {
	if err := m.Truncate(int64(size)); err != nil {
		return nil, err
	}
	bytes, err := unix.Mmap(int(m.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return kept{anonymous(bytes)}, err
}

// kept is a mapping that outlives the process.
type kept struct{ anonymous }

// stepped is the child. It stops before and after the operation.
func stepped(name string) {
	p := DefaultParams(Classic)
	p.ListTot, p.PktListTot = 4, 3
	clock := jiffies.NewManual(1000, testHZ)
	m, err := NewModule(p, clock)
	if err != nil {
		panic(err)
	}
	w := &world{TB: &panicker{}, clock: clock, Registry: m.NewRegistryIn(memfd{os.NewFile(3, "region")}, nil)}
	crowd(w, name)
	notes, err := unix.Mmap(4, 0, int(unsafe.Sizeof(Receipt{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	w.receipt = (*Receipt)(unsafe.Pointer(&notes[0]))
	i := slices.IndexFunc(operations, func(o operation) bool { return o.name == name })
	lab.StopStepped()
	operations[i].do(w)
	lab.StopStepped()
}

// panicker is the testing.TB of a process that is no test.
type panicker struct{ testing.TB }

func (*panicker) Helper()           {}
func (*panicker) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// TestEachInstruction kills a process after each instruction of an operation, as
// it were: it copies the region and recovers the copy. The table is then the one
// before the operation, or, from some instruction on, the one after it. What the
// process noted tells which of the two.
func TestEachInstruction(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			geometry := newHeader(4, 3)
			file, live := lab.MemoryFile(t, int(geometry.size()))
			noteFile, notes := lab.MemoryFile(t, int(unsafe.Sizeof(Receipt{})))
			notes = notes[:64] // of a packet that meets one rule
			var region, noted []byte
			var states []string
			var before doubt
			wrote := 0
			look := func() {
				if bytes.Equal(live, region) && bytes.Equal(notes, noted) {
					return
				}
				wrote++
				region, noted = bytes.Clone(live), bytes.Clone(notes)
				is, table := recoveredTable(t, region)
				if len(states) == 0 {
					before.about(table)
				}
				if len(states) == 0 || is != states[len(states)-1] {
					states = append(states, is)
				}
				done := len(states) > 1
				reg := &Registry{tables: map[string]*Table{"t": table}}
				if o.noted != idempotent && before.applied(reg) != done {
					t.Fatalf("the count of changes does not say whether it is done; the table is\n%s, at first\n%s", is, states[0])
				}
				receipt := new(Receipt)
				copy(unsafe.Slice((*byte)(unsafe.Pointer(receipt)), len(noted)), noted)
				receipt.Settle(reg)
				says := receipt.at == aPacket<<operationBits|1
				if o.noted <= misses && says != done {
					t.Fatalf("the receipt says %t; the table is\n%s, at first\n%s", says, is, states[0])
				}
				if matched := receipt.outcomes[0]&1 == 1; o.noted <= misses && says && matched != (o.noted == matches) {
					t.Fatalf("the receipt says that the rule matched: %t", matched)
				}
			}
			steps := lab.Step(t, steppedEnv+"="+o.name, []*os.File{file, noteFile}, look, look)
			if len(states) != 2 {
				t.Errorf("after %d instructions, of which %d wrote, the table has been\n%s", steps, wrote, strings.Join(states, "\nthen\n"))
			}
			t.Logf("%d instructions, of which %d wrote", steps, wrote)
		})
	}
}

// recoveredTable recovers a copy of a region. It says what is in it: lines in the order
// of the LRU list, and attributes.
func recoveredTable(t *testing.T, kept []byte) (string, *Table) {
	t.Helper()
	r, err := recovered(copyOf(t, kept), 1<<30, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%+v\n", r.header.attr())
	for n := r.slot(0).newer; n != 0; n = r.slot(n).newer {
		text += string(appendLine(nil, r.slot(n), r.stamps(n)))
	}
	return text, (&Registry{}).tableIn(r)
}
