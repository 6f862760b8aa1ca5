package ruleset

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// steppedEnv says what a child process does, one instruction at a time:
// TestEachInstruction.
const steppedEnv = "RECENTFS_TEST_STEPPED"

func init() {
	if os.Getenv(steppedEnv) != "" {
		lab.LockStepped()
	}
}

func TestMain(m *testing.M) {
	if what := os.Getenv(steppedEnv); what != "" {
		stepped(what)
		return
	}
	os.Exit(m.Run())
}

// steppedRules meet a table several times, two tables by turns, and rules that match
// or do not. The tables come in the order of steppedTables.
const steppedRules = `*recent
:QUEUE0 ACCEPT
:sub -
-A QUEUE0 -m recent --rcheck --name A -j MARK --set-mark 1
-A QUEUE0 -j sub
-A QUEUE0 -m mark --mark 1 -m recent --remove --name C -j DROP
-A QUEUE0 -m recent --set --name C
-A sub -m recent --set --name A
-A sub -m recent ! --set --name B --rdest
-A sub -m recent --update --seconds 60 --hitcount 2 --name A
-A sub -m recent --update --seconds 60 --reap --name B --rdest
COMMIT
`

var steppedTables = []string{"A", "C", "B"}

// steppedBatch is an address that is new to the table A, which is full, and one that it
// knows.
func steppedBatch() []capture.Packet {
	numbered := func(id uint32) func(*capture.Packet) { return func(p *capture.Packet) { p.ID = id } }
	return []capture.Packet{with(v4, numbered(11)), with(v6, numbered(13))}
}

func steppedParams() recent.Params {
	p := classic
	p.ListTot, p.PktListTot = 6, 3
	return p
}

// steppedNow is when the batch comes.
const steppedNow = 100000

// atWork loads the stepped rules into tables that are in a memory.
func atWork(where recent.Memory) (*Set, *recent.Registry, error) {
	m, err := recent.NewModule(steppedParams(), jiffies.NewManual(steppedNow, hz))
	if err != nil {
		return nil, nil, err
	}
	f, err := Parse("rules", []byte(steppedRules), steppedParams())
	if err != nil {
		return nil, nil, err
	}
	reg := m.NewRegistryIn(where, nil)
	s, err := f.Load(reg)
	return s, reg, err
}

// crowd fills the tables, before the batch comes.
func crowd(s *Set) {
	for i := range 7 {
		now := jiffies.Jiffies(steppedNow - 100*hz + 10*hz*i)
		s.Queue(0).Decide([]capture.Packet{packet(fmt.Sprintf("192.0.2.%d", 10+i), fmt.Sprintf("198.51.100.%d", i))}, now)
	}
	s.Queue(0).Decide([]capture.Packet{v6}, steppedNow-20*hz)
}

// shared is a Memory of the files from descriptor 4 on, one for each table.
type shared struct {
	made int
	left bool // a process before has left tables there
}

func (s *shared) Make(size uint64) (recent.Mapping, error) {
	s.made++
	return mapShared(3+s.made, size)
}

func (s *shared) Find(table string) []recent.Left {
	if !s.left {
		return nil
	}
	fd := 4 + slices.Index(steppedTables, table)
	return []recent.Left{{Open: func() (recent.Mapping, error) {
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			return nil, err
		}
		return mapShared(fd, uint64(stat.Size))
	}}}
}

func mapShared(fd int, size uint64) (recent.Mapping, error) {
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, err
	}
	b, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return region(b), err
}

// region is memory of a table that outlives the process, as it were.
type region []byte

func (r region) Bytes() []byte                  { return r }
func (r region) Reserve(uint64) (uint64, error) { return uint64(len(r)), nil }
func (r region) Place(string)                   {}
func (r region) SetAside(err error)             { panic(err) }
func (r region) Remove()                        {}
func (r region) Release()                       { _ = unix.Munmap(r) }

// stepped is the child. What it is about to do is its argument.
func stepped(what string) {
	memory, err := unix.Mmap(3, 0, NotesSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	notes, resume := NotesIn(memory), what == "resume"
	s, reg, err := atWork(&shared{left: resume})
	if err != nil {
		panic(err)
	}
	if !resume {
		crowd(s)
	}
	batch := steppedBatch()
	lab.StopStepped()
	if resume {
		notes.Settle(reg)
		s.Queue(0).Resume(batch, steppedNow, notes)
	} else {
		s.Queue(0).DecideNoted(batch, steppedNow, notes)
	}
	lab.StopStepped()
}

// outcomeOf says what came of a batch: verdicts, marks, and tables.
func outcomeOf(t *testing.T, reg *recent.Registry, batch []capture.Packet) string {
	t.Helper()
	var text strings.Builder
	for _, p := range batch {
		fmt.Fprintln(&text, p.ID, p.Verdict, p.Marked, p.Mark)
	}
	for _, name := range steppedTables {
		lines := make([]byte, 1<<16)
		n, err := reg.Table(name).Cursor().ReadAt(lines, 0)
		if err != nil {
			t.Fatal(err)
		}
		all := slices.Sorted(strings.Lines(string(lines[:n]))) // the slots may have other numbers
		fmt.Fprintf(&text, "%s\n%s", name, strings.Join(all, ""))
	}
	return text.String()
}

// left is what a process has left: the notes, but for what no packet of the test
// needs, and the tables.
type left struct {
	notes  []byte
	tables map[string][]byte
}

// is tells whether nothing has changed.
func (l *left) is(notes []byte, tables map[string][]byte) bool {
	for _, name := range steppedTables {
		if !bytes.Equal(l.tables[name], tables[name]) {
			return false
		}
	}
	return bytes.Equal(l.notes, notes)
}

// Make implements recent.Memory.
func (*left) Make(size uint64) (recent.Mapping, error) {
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	return region(b), err
}

// Find implements recent.Memory: it finds a copy of what was left.
func (l *left) Find(table string) []recent.Left {
	return []recent.Left{{Open: func() (recent.Mapping, error) {
		m, err := l.Make(uint64(len(l.tables[table])))
		if err == nil {
			copy(m.Bytes(), l.tables[table])
		}
		return m, err
	}}}
}

// next is the process that goes on with a copy of what was left.
func (l *left) next(t *testing.T, notes *Notes) string {
	t.Helper()
	copy(unsafe.Slice((*byte)(unsafe.Pointer(notes)), len(l.notes)), l.notes)
	s, reg, err := atWork(l)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	notes.Settle(reg)
	batch := steppedBatch()
	s.Queue(0).Resume(batch, steppedNow, notes)
	return outcomeOf(t, reg, batch)
}

// TestEachInstruction kills a process after each instruction of a batch, as it were.
// The next process goes on with a copy of what was left. Then it kills some of the next
// processes so. What comes of the batch is always the same.
func TestEachInstruction(t *testing.T) {
	s, reg, err := atWork(recent.Anonymous{})
	if err != nil {
		t.Fatal(err)
	}
	crowd(s)
	batch := steppedBatch()
	s.Queue(0).Decide(batch, steppedNow)
	want := outcomeOf(t, reg, batch)
	s.Close()
	all := eachInstruction(t, "decide", want, nil)
	const some = 3
	for i := range some {
		from := all[i*(len(all)-1)/(some-1)]
		t.Run(fmt.Sprintf("and again %d", i), func(t *testing.T) { eachInstruction(t, "resume", want, &from) })
	}
}

// eachInstruction steps a process that begins with what was left, or with nothing. It
// returns what was left after each instruction that changed something.
func eachInstruction(t *testing.T, what, want string, from *left) (all []left) {
	t.Helper()
	notesFile, notes := lab.MemoryFile(t, NotesSize)
	notes = notes[:2048]
	files, live := []*os.File{notesFile}, make(map[string][]byte)
	for _, name := range steppedTables {
		f, _ := lab.MemoryFile(t, 0)
		files = append(files, f)
		if from != nil {
			if _, err := f.WriteAt(from.tables[name], 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if from != nil {
		copy(notes, from.notes)
	}
	scratch := new(Notes)
	look := func() {
		if len(all) > 0 && all[len(all)-1].is(notes, live) {
			return
		}
		now := left{notes: bytes.Clone(notes), tables: make(map[string][]byte)}
		for name, b := range live {
			now.tables[name] = bytes.Clone(b)
		}
		all = append(all, now)
		if got := now.next(t, scratch); got != want {
			t.Fatalf("after %d changes the next process came to\n%s\nwant\n%s", len(all)-1, got, want)
		}
	}
	steps := lab.Step(t, steppedEnv+"="+what, files, func() {
		for i, name := range steppedTables {
			live[name] = mapped(t, files[i+1])
		}
		look()
	}, look)
	if what == "decide" && len(all) < 20 {
		t.Errorf("only %d of %d instructions changed something", len(all), steps)
	}
	t.Logf("%d instructions, %d changes", steps, len(all))
	return all
}

// mapped maps a file that another process has made.
func mapped(t *testing.T, f *os.File) []byte {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}
