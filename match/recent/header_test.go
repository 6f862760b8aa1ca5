package recent

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"recentfs/match/addr"
)

// TestFormat holds the package comment to what the compiler makes of the types.
func TestFormat(t *testing.T) {
	var h header
	var s slot
	for _, c := range []struct {
		name         string
		offset, want uintptr
		size, bytes  uintptr
	}{
		{"magic", unsafe.Offsetof(h.magic), 0, unsafe.Sizeof(h.magic), 8},
		{"version", unsafe.Offsetof(h.version), 8, unsafe.Sizeof(h.version), 4},
		{"limit", unsafe.Offsetof(h.limit), 12, unsafe.Sizeof(h.limit), 4},
		{"ring", unsafe.Offsetof(h.ring), 16, unsafe.Sizeof(h.ring), 4},
		{"stride", unsafe.Offsetof(h.stride), 20, unsafe.Sizeof(h.stride), 4},
		{"places", unsafe.Offsetof(h.places), 24, unsafe.Sizeof(h.places), 4},
		{"entries", unsafe.Offsetof(h.entries), 28, unsafe.Sizeof(h.entries), 4},
		{"used", unsafe.Offsetof(h.used), 32, unsafe.Sizeof(h.used), 4},
		{"free", unsafe.Offsetof(h.free), 36, unsafe.Sizeof(h.free), 4},
		{"sequence", unsafe.Offsetof(h.sequence), 40, unsafe.Sizeof(h.sequence), 8},
		{"key", unsafe.Offsetof(h.key), 48, unsafe.Sizeof(h.key), 16},
		{"mask", unsafe.Offsetof(h.mask), 64, unsafe.Sizeof(h.mask), 16},
		{"id", unsafe.Offsetof(h.id), 80, unsafe.Sizeof(h.id), 8},
		{"attributes", unsafe.Offsetof(h.attrs), 88, unsafe.Sizeof(h.attrs), 2 * 12},
		{"permission bits", unsafe.Offsetof(Attr{}.Perms), 0, unsafe.Sizeof(Attr{}.Perms), 4},
		{"uid", unsafe.Offsetof(Attr{}.UID), 4, unsafe.Sizeof(Attr{}.UID), 4},
		{"gid", unsafe.Offsetof(Attr{}.GID), 8, unsafe.Sizeof(Attr{}.GID), 4},
		{"valid", unsafe.Offsetof(h.valid), 112, unsafe.Sizeof(h.valid), 4},
		{"name", unsafe.Offsetof(h.name), 116, unsafe.Sizeof(h.name), 200},
		{"checksum", unsafe.Offsetof(h.checksum), 316, unsafe.Sizeof(h.checksum), 4},
		{"change", unsafe.Offsetof(h.change), 320, unsafe.Sizeof(h.change), 64},
		{"header", 0, 0, unsafe.Sizeof(h), 384},
		{"hash of a place", unsafe.Offsetof(ref{}.hash), 0, unsafe.Sizeof(ref{}.hash), 4},
		{"number of a place", unsafe.Offsetof(ref{}.n), 4, unsafe.Sizeof(ref{}), 8},
		{"address", unsafe.Offsetof(s.addr), 0, unsafe.Sizeof(s.addr), 16},
		{"nstamps", unsafe.Offsetof(s.nstamps), 16, unsafe.Sizeof(s.nstamps), 2},
		{"index", unsafe.Offsetof(s.index), 18, unsafe.Sizeof(s.index), 2},
		{"family", unsafe.Offsetof(s.family), 20, unsafe.Sizeof(s.family), 1},
		{"ttl", unsafe.Offsetof(s.ttl), 21, unsafe.Sizeof(s.ttl), 1},
		{"older", unsafe.Offsetof(s.older), 24, unsafe.Sizeof(s.older), 4},
		{"newer", unsafe.Offsetof(s.newer), 28, unsafe.Sizeof(s.newer), 4},
		{"stamps", slotHead, 32, stampSize, 8},
	} {
		if c.offset != c.want || c.size != c.bytes {
			t.Errorf("%s: %d bytes at %d, want %d at %d", c.name, c.size, c.offset, c.bytes, c.want)
		}
	}
}

// TestGeometry holds how many places the index has, and how large a region is.
func TestGeometry(t *testing.T) {
	for _, c := range []struct {
		limit, ring, places uint32
		size                uint64
	}{
		{1, 1, 2, 384 + 2*40},
		{100, 20, 256, 384 + 101*192},
		{128, 20, 256, 384 + 129*192},
		{129, 20, 512, 384 + 130*192},
		{MaxListTot, 65536, 1 << 31, 384 + (1<<30+1)*(32+8*65536)},
	} {
		h := newHeader(c.limit, c.ring)
		if h.places != c.places || h.size() != c.size {
			t.Errorf("%d addresses of %d stamps: %d places, %d bytes, want %d, %d",
				c.limit, c.ring, h.places, h.size(), c.places, c.size)
		}
	}
}

// copyOf is a copy of a table's region.
func copyOf(t *testing.T, bytes []byte) Mapping {
	t.Helper()
	m, err := Anonymous{}.Make(uint64(len(bytes)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Release)
	copy(m.Bytes(), bytes)
	return m
}

// TestBytesAreTheTable copies a table's bytes to other memory: everything that
// the table was is there.
func TestBytesAreTheTable(t *testing.T) {
	name := strings.Repeat("n", nameLen-1)
	mask := [16]byte{255, 255, 255, 254}
	w := newWorld(t, func(p *Params) { p.ListTot, p.Perms, p.UID, p.GID = 8, 0o640, 7, 1<<32-2 }, Modern)
	w.rule(Info{CheckSet: Set, Name: "first"})
	set := w.rule(Info{CheckSet: Set, Name: name, Mask: mask})
	for i := range 20 { // with an eviction, a ring that wraps, and a free slot
		w.clock.Set(w.clock.Now() + 1)
		w.arrives(set, fmt.Sprintf("192.0.2.%d", 2*i), 64)
		for range 40 * (i / 19) {
			w.arrives(set, "192.0.2.200", 9)
		}
	}
	w.rule(Info{CheckSet: Check, Name: name, HitCount: 40}) // another region
	for i := range 20 {
		w.arrives(set, fmt.Sprintf("192.0.2.%d", 2*i), 64)
		w.arrives(set, "192.0.2.200", 9)
	}
	if err := w.write(name, "+2001:db8::1"); err != nil {
		t.Fatal(err)
	}
	if err := w.write(name, "-192.0.2.200"); err != nil {
		t.Fatal(err)
	}
	was := w.Table(name)
	if err := was.Chattr(func(a *Attr) { a.Perms = 0o4600 }); err != nil {
		t.Fatal(err)
	}

	m := copyOf(t, was.memory.Bytes())
	r, err := recovered(m, w.clock.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	is := w.tableIn(r)

	h := is.header
	if string(h.magic[:]) != "recentfs" || binary.NativeEndian.Uint32(m.Bytes()[8:]) != 2 {
		t.Errorf("the bytes begin with %q", m.Bytes()[:12])
	}
	if got := string(h.name[:]); got != name+"\x00" || h.id != 2 || is.ID() != 2 || was.ID() != 2 || is.Name() != name {
		t.Errorf("table %d %.210q, want 2 %q", h.id, got, name)
	}
	if h.limit != 8 || h.ring != 64 || h.mask != addr.Load(&mask) || h.sequence != was.header.sequence || h.sequence == 0 {
		t.Errorf("limit %d, ring %d, mask %x, sequence %d", h.limit, h.ring, h.mask.Bytes(), h.sequence)
	}
	if want := (Attr{0o4600, 7, 1<<32 - 2}); is.Attr() != want {
		t.Errorf("attributes %+v, want %+v", is.Attr(), want)
	}
	if is.ring != was.ring || is.stride != was.stride || is.key != was.key || len(is.index) != len(was.index) {
		t.Error("the way into the memory differs")
	}
	text := w.read(is.Cursor(), 1<<16)
	if want := w.read(was.Cursor(), 1<<16); string(text) != string(want) || strings.Count(string(text), "\n") != 7 {
		t.Errorf("its lines are\n%s, want\n%s", text, want)
	}

	// It goes on where the other was: lookups, the LRU list and the free list.
	again := &Rule{info: set.info, table: is}
	for i := range 8 {
		for _, rule := range []*Rule{set, again} {
			w.arrives(rule, fmt.Sprintf("192.0.2.%d", 100+2*(i%6)), 64)
		}
	}
	text = w.read(is.Cursor(), 1<<16)
	if want := w.read(was.Cursor(), 1<<16); string(text) != string(want) {
		t.Errorf("after the same packets its lines are\n%s, want\n%s", text, want)
	}
	if !slices.Equal(m.Bytes()[slotsAt:], was.memory.Bytes()[slotsAt:]) {
		t.Error("after the same packets its bytes differ")
	}
}

// TestIdentityStays changes what a table is, and then where: by wider rules,
// flushes with and without memory for another region, and its end.
func TestIdentityStays(t *testing.T) {
	w := newWorld(t, nil, Modern)
	set := w.rule(Info{CheckSet: Set, Mask: [16]byte{255, 255}})
	table := w.Table("t")
	want := Attr{0o600, 1, 2}
	if err := table.Chattr(func(a *Attr) { *a = want }); err != nil {
		t.Fatal(err)
	}
	fill := func() {
		for i := range 50 {
			w.arrives(set, fmt.Sprintf("10.%d.0.1", i), 64)
		}
	}
	flush := func() {
		if err := w.write("t", "/"); err != nil {
			t.Error(err)
		}
	}
	sequence := uint64(0)
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"filled", fill},
		{"widened", func() { w.rule(Info{CheckSet: Check, HitCount: 100}) }},
		{"filled again", fill},
		{"flushed", flush},
		{"filled a third time", fill},
		{"wiped", func() {
			table.where = lessMemory(0)
			flush()
			table.where = Anonymous{}
		}},
		{"filled a last time", fill},
		{"gone", func() {
			for table.refs > 0 {
				w.Destroy(set)
			}
		}},
	} {
		step.do()
		h := table.header
		if h.mask != (addr.Load(&[16]byte{255, 255})) || h.id != 1 || string(h.name[:2]) != "t\x00" || table.Attr() != want || table.Name() != "t" || table.ID() != 1 {
			t.Errorf("%s: the header has mask %x, id %d, name %.10q, attributes %+v", step.name, h.mask.Bytes(), h.id, h.name, h.attr())
		}
		if h.sequence <= sequence {
			t.Errorf("%s: the sequence goes from %d to %d", step.name, sequence, h.sequence)
		}
		if empty := !strings.HasPrefix(step.name, "filled"); empty != (h.entries == 0) || empty && h.used != 0 {
			t.Errorf("%s: %d entries, %d slots were used", step.name, h.entries, h.used)
		}
		sequence = h.sequence
	}
}
