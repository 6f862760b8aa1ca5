package recent

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// steppedEnv names the operation that a child process does, one instruction at a
// time: TestEachInstruction.
const steppedEnv = "RECENTFS_TEST_STEPPED"

func init() {
	if os.Getenv(steppedEnv) != "" {
		runtime.LockOSThread() // the thread that is traced
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
	name string
	do   func(w *world)
}

// operations are done after those of crowd.
var operations = []operation{
	{"a new address takes the place of the least recently seen", func(w *world) { w.arrives(w.rules["set"], "192.0.2.9", 9) }},
	{"a new address takes a free slot", func(w *world) { w.arrives(w.rules["set"], "2001:db8::9", 9) }},
	{"a new address takes a slot that was never used", func(w *world) { w.arrives(w.rules["set"], "192.0.2.9", 9) }},
	{"a known address is set, its ring full", func(w *world) { w.arrives(w.rules["set"], "192.0.2.1", 9) }},
	{"a known address is set, its ring not full", func(w *world) { w.arrives(w.rules["set"], "192.0.2.3", 9) }},
	{"an update matches", func(w *world) { w.arrives(w.rules["update"], "192.0.2.1", 9) }},
	{"an update matches and reaps", func(w *world) { w.arrives(w.rules["reap"], "192.0.2.1", 9) }},
	{"a check reaps", func(w *world) { w.arrives(w.rules["check"], "192.0.2.2", 9) }},
	{"a remove", func(w *world) { w.arrives(w.rules["remove"], "192.0.2.2", 9) }},
	{"+ of a new address", func(w *world) { w.must("+192.0.2.9") }},
	{"+ of a known address", func(w *world) { w.must("+192.0.2.2") }},
	{"- of a known address", func(w *world) { w.must("-192.0.2.1") }},
	{"/ in place", func(w *world) {
		w.Table("t").where = lessMemory(0)
		w.must("/")
	}},
	{"a merge takes the place of the least recently seen", func(w *world) { w.merges("192.0.2.9", 2, 1065) }},
	{"a merge takes a free slot", func(w *world) { w.merges("2001:db8::9", 2, 3, 1075) }},
	{"a merge takes a slot that was never used", func(w *world) { w.merges("192.0.2.9", 2) }},
	{"a merge gives older stamps", func(w *world) { w.merges("192.0.2.3", 5, 6) }},
	{"a merge gives a newer stamp", func(w *world) { w.merges("192.0.2.2", 1, 1075) }},
	{"a merge gives the newest stamp, the ring full", func(w *world) { w.merges("192.0.2.1", 1035, 1081) }},
	{"chmod and chown", func(w *world) {
		_ = w.Table("t").Chattr(func(a *Attr) { *a = Attr{0o600, 1 << 20, 1 << 21} })
	}},
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
	stop := func() { _ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP) }
	i := slices.IndexFunc(operations, func(o operation) bool { return o.name == name })
	stop()
	operations[i].do(w)
	stop()
}

// panicker is the testing.TB of a process that is no test.
type panicker struct{ testing.TB }

func (*panicker) Helper()           {}
func (*panicker) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// TestEachInstruction kills a process after each instruction of an operation, as
// it were: it copies the region and recovers the copy. The table is then the one
// before the operation, or, from some instruction on, the one after it.
func TestEachInstruction(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			runtime.LockOSThread() // ptrace knows the tracer by its thread
			defer runtime.UnlockOSThread()
			fd, err := unix.MemfdCreate("region", unix.MFD_CLOEXEC)
			if err != nil {
				t.Fatal(err)
			}
			file := os.NewFile(uintptr(fd), "region")
			defer file.Close()
			c := exec.Command("/proc/self/exe")
			c.Env = append(os.Environ(), steppedEnv+"="+o.name, "GODEBUG=asyncpreemptoff=1", "GOGC=off")
			c.ExtraFiles = []*os.File{file}
			c.Stderr = os.Stderr
			c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			pid := c.Process.Pid
			defer func() {
				_ = unix.Kill(pid, unix.SIGKILL)
				_ = c.Wait()
			}()
			waitStop := func() unix.Signal {
				t.Helper()
				var status unix.WaitStatus
				if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
					t.Fatal(err)
				}
				if !status.Stopped() {
					t.Fatalf("the child has ended: %x", status)
				}
				return status.StopSignal()
			}
			waitStop() // at exec
			for sig := unix.Signal(0); ; {
				if err := unix.PtraceCont(pid, int(sig)); err != nil {
					t.Fatal(err)
				}
				if sig = waitStop(); sig == unix.SIGSTOP {
					break
				}
			}
			geometry := newHeader(4, 3)
			live, err := unix.Mmap(fd, 0, int(geometry.size()), unix.PROT_READ, unix.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Munmap(live)
			region := bytes.Clone(live)
			before := recoveredDump(t, region)
			states := []string{before}
			steps, wrote := 0, 0
			for {
				if err := unix.PtraceSingleStep(pid); err != nil {
					t.Fatal(err)
				}
				if waitStop() == unix.SIGSTOP {
					break
				}
				steps++
				if bytes.Equal(live, region) {
					continue
				}
				wrote++
				copy(region, live)
				if is := recoveredDump(t, region); is != states[len(states)-1] {
					states = append(states, is)
				}
			}
			if len(states) != 2 {
				t.Errorf("after %d instructions, of which %d wrote, the table has been\n%s", steps, wrote, strings.Join(states, "\nthen\n"))
			}
			t.Logf("%d instructions, of which %d wrote", steps, wrote)
		})
	}
}

// recoveredDump recovers a copy of a region, and says what is in it: lines in the
// order of the LRU list, and attributes.
func recoveredDump(t *testing.T, kept []byte) string {
	t.Helper()
	m := copyOf(t, kept)
	r, err := recovered(m, 1<<30, nil)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%+v\n", r.header.attr())
	for n := r.slot(0).newer; n != 0; n = r.slot(n).newer {
		text += string(appendLine(nil, r.slot(n), r.stamps(n)))
	}
	return text
}
