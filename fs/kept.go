package fs

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// Unsafe memory in this file: kept is the Area of a connection's memory, which starts
// at a page and has that many bytes (newKept). It holds no pointer. What a process
// before has left there was written by the same version.

// kept is what the next process needs of a mount, beside the connection. A process that
// is killed leaves it as it is at that moment. So each entry of a table is filled in
// before it counts, and what makes it count is a single store. What finds no room in a
// table is not known to the next process: an open file begins at its start there, a
// folder and its files become others.
type kept struct {
	version uint32
	kind    uint32 // of the root
	made    int64  // the time of the module's nodes
	dead    int64  // see Mountpoint
	created int64  // how many of the directories up from dir Mountpoint.mkdir made
	dir     [4096]byte

	lastHandle uint64 // of open files
	lastFolder uint64 // the largest number of a directory
	write      recent.Written

	dirs  keptTable[keptDir]
	files keptTable[keptFile]
	opens keptTable[keptOpen]
}

// keptVersion is that of kept and of all that is in it.
const keptVersion = 2

// The kinds of roots.
const (
	moduleKind = 1 + iota
	folderKind
	namespacesKind
)

var roots = [...]string{"nothing", "the module", "the tables of one namespace", "the tables of several namespaces"}

// keptDir is a directory.
type keptDir struct {
	used      uint32
	_         uint32
	number    uint64
	made      int64
	attrs     recent.Attr
	_         uint32
	lastTable uint64 // the largest ID of a table that was in it
	name      [256]byte
}

// keptFile is a table's file.
type keptFile struct {
	node uint64 // 0: the entry is free
	made int64
}

const keptSize = int(unsafe.Sizeof(kept{}))

// keptIn is kept in an Area that is new, or that a process before has left.
func keptIn(area []byte) *kept {
	_ = area[keptSize-1]
	return (*kept)(unsafe.Pointer(&area[0]))
}

// check tells why a mount of that kind cannot go on with this.
func (k *kept) check(kind uint32) error {
	switch {
	case k.version != keptVersion:
		return fmt.Errorf("the mount's memory has version %d: this program knows version %d", k.version, keptVersion)
	case k.kind != kind:
		return fmt.Errorf("it showed %s, and is to show %s", roots[k.kind%uint32(len(roots))], roots[kind])
	}
	last := max(k.lastFolder, nsNumber)
	if last >= 1<<31 { // it is half of a node, and there will be more
		return fmt.Errorf("the mount's memory makes no sense: it counts %d directories", last)
	}
	for d := range k.dirs.all() {
		if d.used != 0 && d.number > last {
			return fmt.Errorf("the mount's memory makes no sense: directory %d, of %d", d.number, last)
		}
	}
	return nil
}

// begin forgets the open files of a connection that has ended.
func (k *kept) begin() {
	k.write.Begin(0, 0)
	for o := range k.opens.all() {
		o.fh = 0
	}
	k.opens.used = 0
}

// keptTable is a table with room for size entries at most. Memory for entries that were
// never in use costs nothing.
type keptTable[T any] struct {
	used    uint64 // entries that have been in use at some time come first
	entries [tableSize]T
}

// tableSize is more than a machine has of any of them, but for a user who wants to
// open as many files as possible.
const tableSize = 1 << 16

// all are the entries that have been in use.
func (t *keptTable[T]) all() func(yield func(*T) bool) {
	return func(yield func(*T) bool) {
		for i := range min(t.used, tableSize) {
			if !yield(&t.entries[i]) {
				return
			}
		}
	}
}

// room finds room in a table of which this process alone knows what is free.
type room[T any] struct {
	table *keptTable[T] // nil: there is none
	free  []*T
}

// newRoom is the room of a table, in which isFree tells what is free.
func newRoom[T any](t *keptTable[T], isFree func(*T) bool) room[T] {
	r := room[T]{table: t}
	for e := range t.all() {
		if isFree(e) {
			r.free = append(r.free, e)
		}
	}
	return r
}

// take is an entry that was free. It is the caller's to make it count. It is nil where
// there is no room.
func (r *room[T]) take() *T {
	if n := len(r.free); n > 0 {
		e := r.free[n-1]
		r.free = r.free[:n-1]
		return e
	}
	if r.table == nil || r.table.used >= tableSize {
		return nil
	}
	e := &r.table.entries[r.table.used]
	r.table.used++
	return e
}

// give takes an entry back that counts no more.
func (r *room[T]) give(e *T) { r.free = append(r.free, e) }

// text is what put has put into room for a text: up to a NUL.
func text(room []byte) string { return unix.ByteSliceToString(room) }

// put tells whether a text has room, with a NUL, and puts it there.
func put(room []byte, text string) bool {
	if len(text) >= len(room) {
		return false
	}
	clear(room[copy(room, text):])
	return true
}

// at is a time that was kept.
func at(made int64) time.Time { return time.Unix(0, made) }
