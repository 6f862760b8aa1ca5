package fs

import (
	"fmt"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/state"
	"recentfs/tests/lab"
)

// stopping is a clock that ends a write in the middle, as a kill does.
type stopping struct {
	jiffies.Clock
	stops bool
}

func (c *stopping) Now() jiffies.Jiffies {
	if c.stops {
		panic("stop")
	}
	return c.Clock.Now()
}

// TestWriteInDoubt has a process end in the middle of a write, before or after it
// changed the table. The write comes again.
func TestWriteInDoubt(t *testing.T) {
	for _, changed := range []bool{false, true} {
		t.Run(fmt.Sprint(changed), func(t *testing.T) {
			clock := &stopping{Clock: jiffies.NewManual(1000, 100)}
			dir := lab.TempDir(t)
			memory, err := state.Open(dir+"/live", dir+"/saved", clock, func(text string) { t.Error(text) })
			if err != nil {
				t.Fatal(err)
			}
			kept := new(kept)
			tab := table(t, newModule(t, recent.DefaultParams(recent.Modern), clock).NewRegistryIn(memory, nil), "t")
			first, folder := newFilesystem(kept)
			first.settle()
			folder.Update(recent.Event{Table: tab})
			node := folder.fileID(tab)
			fh := opened(t, first, node, 2, unix.O_WRONLY)
			in := fuse.WriteIn{InHeader: fuse.InHeader{NodeId: node, Unique: 4}, Fh: fh}
			clock.stops = true
			func() {
				defer func() { _ = recover() }()
				first.Write(nil, &in, []byte("+192.0.2.1"))
				t.Error("the clock did not stop the write")
			}()
			clock.stops = false
			want := "192.0.2.1"
			if changed { // as it were, by the write
				if _, _, err := tab.Write([]byte("+192.0.2.9"), 0); err != nil {
					t.Fatal(err)
				}
				want = "192.0.2.9"
			}
			second, folder := newFilesystem(kept)
			folder.Update(recent.Event{Table: tab})
			second.settle()
			in.Unique = again(4)
			if n, st := second.Write(nil, &in, []byte("+192.0.2.1")); n != 10 || !st.Ok() {
				t.Errorf("again: %d, %v", n, st)
			}
			buf := make([]byte, 1000)
			n, _ := tab.Cursor().ReadAt(buf, 0)
			if got := addresses(string(buf[:n])); got != want {
				t.Errorf("the table has %q, want %q", got, want)
			}
		})
	}
}
