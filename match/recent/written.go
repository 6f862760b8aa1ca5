package recent

// Written is what a process notes of a write, so that the next one can tell whether
// it was done: the answer may not have reached the writer. It is for memory that
// outlives the process, and has no pointer. Memory of zeroes is the note of no write.
//
// The order of the stores counts, as in change.
type Written struct {
	n      int64 // what Write returns if it was done
	next   int64
	begun  uint32 // changes of the table before the write
	state  uint32 // one of those below
	unique uint64 // names the write
	file   uint64 // names the table's file, among those of all registries
}

const (
	notDone = iota
	inDoubt // the write is about to change the table, whose lock is held until it is done
	done
)

// Begin forgets the write before and names the one that follows. A write that is
// refused changes nothing and is never done. Nothing is noted in a nil Written.
func (w *Written) Begin(unique, file uint64) {
	if w != nil {
		w.state = notDone
		w.unique, w.file = unique, file
	}
}

// about says that the write is about to change a table, and how it will end. t.mu is
// held.
func (w *Written) about(t *Table, n int, next int64) {
	if w == nil {
		return
	}
	w.begun, w.n, w.next = t.header.change.begun, int64(n), next
	w.state = inDoubt
}

// end says that the table is changed, or not if there is an error. t.mu is held.
func (w *Written) end(err error) {
	switch {
	case w == nil:
	case err != nil:
		w.state = notDone
	default:
		w.state = done
	}
}

// Settle finds out whether the write was done that a process before was at, if it is
// for this table's file. It comes before anything changes the table.
func (w *Written) Settle(t *Table, file uint64) {
	if w.state != inDoubt || w.file != file {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.header.change.begun != w.begun {
		w.state = done
	} else {
		w.state = notDone
	}
}

// Done tells whether the write of that name was done, and what it returned.
func (w *Written) Done(unique uint64) (n int, next int64, ok bool) {
	if w == nil || w.state != done || w.unique != unique {
		return 0, 0, false
	}
	return int(w.n), w.next, true
}
