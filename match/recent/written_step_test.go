package recent

import (
	"bytes"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/tests/lab"
)

// steppedWriteEnv is the text that a child process writes, one instruction at a time:
// TestWrittenEachInstruction.
const steppedWriteEnv = "RECENTFS_TEST_STEPPED_WRITE"

func init() {
	text := os.Getenv(steppedWriteEnv)
	if text == "" {
		return
	}
	lab.LockStepped()
	p := DefaultParams(Classic)
	p.ListTot, p.PktListTot = 4, 3
	clock := jiffies.NewManual(1000, testHZ)
	m, err := NewModule(p, clock)
	if err != nil {
		panic(err)
	}
	w := &world{TB: &panicker{}, clock: clock, Registry: m.NewRegistryIn(memfd{os.NewFile(3, "region")}, nil)}
	crowd(w, text)
	notes, err := unix.Mmap(4, 0, int(unsafe.Sizeof(Written{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	note := (*Written)(unsafe.Pointer(&notes[0]))
	table := w.Table("t")
	lab.StopStepped()
	note.Begin(aWrite, aFile)
	_, _, _ = table.WriteNoted(note, []byte(text), 0)
	lab.StopStepped()
	os.Exit(0)
}

// TestWrittenEachInstruction kills a process after each instruction of a write, as it
// were. The note says always whether the write was done.
func TestWrittenEachInstruction(t *testing.T) {
	for _, text := range []string{"+192.0.2.9", "+192.0.2.2", "-192.0.2.1"} {
		t.Run(text, func(t *testing.T) {
			geometry := newHeader(4, 3)
			regionFile, live := lab.MemoryFile(t, int(geometry.size()))
			noteFile, notes := lab.MemoryFile(t, int(unsafe.Sizeof(Written{})))
			var region, noted []byte
			var first, is string
			done := false
			look := func() {
				if bytes.Equal(live, region) && bytes.Equal(notes, noted) {
					return
				}
				region, noted = bytes.Clone(live), bytes.Clone(notes)
				var table *Table
				is, table = recoveredTable(t, region)
				if first == "" {
					first = is
				}
				note := *(*Written)(unsafe.Pointer(&noted[0]))
				note.Settle(table, aFile)
				if _, _, done = note.Done(aWrite); done != (is != first) {
					t.Fatalf("the note says %t; the table is\n%s, at first\n%s", done, is, first)
				}
			}
			lab.Step(t, steppedWriteEnv+"="+text, []*os.File{regionFile, noteFile}, look, look)
			if !done {
				t.Error("the write was not done at the end")
			}
		})
	}
}
