package recent

// Receipt says how far a process came with a packet, so that the next one goes on
// there if it is killed. It is for memory that outlives the process, and has no
// pointer. Memory of zeroes is the receipt of no packet.
//
// Each rule that a packet meets is an operation. They are numbered from 0, in each
// packet anew. A process that goes on with the packet of another one meets the same
// rules again: operations that are done have the outcome that they had, and change
// nothing. One may be in doubt. Settle finds out whether it was done.
//
// The order of the stores counts, as in change.
type Receipt struct {
	// at is the operation that comes next: the packet's id, then its number in
	// operationBits. So one store ends an operation, and one begins a packet.
	at    uint64
	under uint64 // the operation that is under way, if it is at
	doubt doubt  // of the operation under way
	what  outcome
	_     uint32
	// outcomes are those of the packet's operations before at. A packet may have as
	// many as a ruleset lets it visit rules. Memory that nobody wrote to costs nothing.
	outcomes [1 << operationBits]outcome
}

const operationBits = 20

// outcome is the number of a rule, then whether it matched.
type outcome uint32

func outcomeOf(rule uint32, matched bool) outcome {
	o := outcome(rule << 1)
	if matched {
		o |= 1
	}
	return o
}

// begin says that an operation is about to change a table, and what its outcome will
// be. t.mu is held until it is done.
func (r *Receipt) begin(t *Table, rule uint32, matched bool) {
	if r == nil {
		return
	}
	r.doubt.about(t)
	r.what = outcomeOf(rule, matched)
	r.under = r.at
}

// end says that an operation is done.
func (r *Receipt) end(o outcome) {
	r.outcomes[r.at%(1<<operationBits)] = o
	r.at++
}

// Settle finds out whether the operation in doubt was done. It comes before anything
// changes the tables of the registry, and after its rules are made.
func (r *Receipt) Settle(reg *Registry) {
	if r.under != r.at {
		return
	}
	if r.doubt.applied(reg) {
		r.end(r.what)
	}
	r.under = 0 // the table may change from now on
}

// Drop forgets the packet.
func (r *Receipt) Drop() { r.at, r.under = 0, 0 }

// Begin begins a packet, whose id is 1 or more.
func (b *Batch) Begin(id uint32) {
	b.again, b.done = 0, 0
	b.Receipt.at = uint64(id) << operationBits
}

// Resume goes on with a packet, if it is the one that the process before was at. If
// not, it begins the packet.
func (b *Batch) Resume(id uint32) {
	if b.Receipt.at>>operationBits != uint64(id) {
		b.Begin(id)
		return
	}
	b.again, b.done = 0, uint32(b.Receipt.at%(1<<operationBits))
}

// repeat is the outcome of an operation that the process before has done. It is not
// known if the packet meets another rule than it met there: a device may have got
// another name meanwhile. Then what follows is done.
func (b *Batch) repeat(rule uint32) (matched, known bool) {
	o := b.Receipt.outcomes[b.again%(1<<operationBits)]
	if o>>1 != outcome(rule) {
		b.Receipt.at -= uint64(b.done - b.again)
		b.done = b.again
		return false, false
	}
	b.again++
	return o&1 != 0, true
}

// doubt is what a process notes before it changes a table, so that the next one can
// tell whether it did. It has no pointer.
type doubt struct {
	table uint64 // its id
	begun uint32 // changes of the table before
	_     uint32
}

// about notes a table that is about to change. Its lock is held until the process
// notes elsewhere that the change is done. So nobody else can have changed it.
func (d *doubt) about(t *Table) { d.table, d.begun = t.id, t.header.change.begun }

// applied tells whether the table was changed, as long as nobody else has changed it
// since. It is false if the table is gone.
func (d *doubt) applied(reg *Registry) bool {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	for _, t := range reg.tables {
		if t.id == d.table {
			t.mu.Lock()
			defer t.mu.Unlock()
			return t.header.change.begun != d.begun
		}
	}
	return false
}
