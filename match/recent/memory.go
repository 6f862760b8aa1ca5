package recent

import (
	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// Memory is where the tables of a registry have their regions.
type Memory interface {
	// Make gives memory of size bytes, all of them 0.
	Make(size uint64) (Mapping, error)
	// Find finds what processes before have left of a table, the best first.
	Find(table string) []Left
}

// Left is what a process before has left of a table: its region, or an image of it
// (Table.AppendImage).
type Left struct {
	Open func() (Mapping, error)
	// Now is what a stamp of an image is by the clock of this machine. It is nil
	// for a region.
	Now func(jiffies.Jiffies) jiffies.Jiffies
}

// Mapping is the memory of one region.
type Mapping interface {
	// Bytes start at a page. It is not Go's memory, so that the garbage collector
	// never walks it and it goes back to the machine at once.
	Bytes() []byte
	// Reserve makes sure that the first n bytes can be written to, and returns how
	// many can, which may be more.
	Reserve(n uint64) (uint64, error)
	// Place makes this the region of the table of that name, in place of the one
	// before.
	Place(table string)
	// SetAside makes what was placed nobody's region, since it makes no sense.
	SetAside(why error)
	// Remove makes what was placed go for good.
	Remove()
	// Release gives the memory back. What was placed stays where it was placed.
	Release()
}

// Anonymous is memory that goes with the process.
type Anonymous struct{}

// Make maps size bytes. Pages that nobody wrote to cost nothing.
func (Anonymous) Make(size uint64) (Mapping, error) {
	bytes, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	return anonymous(bytes), err
}

// Find finds nothing.
func (Anonymous) Find(string) []Left { return nil }

// anonymous is a mapping of zeroes. All of it can always be written to.
type anonymous []byte

func (a anonymous) Bytes() []byte                  { return a }
func (a anonymous) Reserve(uint64) (uint64, error) { return uint64(len(a)), nil }
func (a anonymous) Place(string)                   {}
func (a anonymous) SetAside(error)                 {}
func (a anonymous) Remove()                        {}

// Release unmaps. There is nothing that could fail: it is a mapping of ours.
func (a anonymous) Release() { _ = unix.Munmap(a) }
