package recent

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestResizeWhileReading reads a part of a table, gives it another size, reads a
// part again, and so on. What stays all the time appears once.
func TestResizeWhileReading(t *testing.T) {
	const hosts = 200
	host := func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }
	for _, c := range []struct {
		name   string
		limits []uint32
		full   bool // the open files keep all that they may
	}{
		{"fewer", []uint32{100}, false},
		{"fewer and fewer", []uint32{150, 100, 60}, false},
		{"fewer, more, fewer", []uint32{100, 400, 60}, false},
		{"more", []uint32{400, 800}, false},
		{"nothing is kept", []uint32{150, 100, 60}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for first := 1; first < hosts*60; first += 1499 {
				w := newWorld(t, func(p *Params) { p.ListTot, p.PktListTot = hosts, 255 }, Classic)
				set := w.rule(Info{CheckSet: Set})
				for i := range 200 {
					w.arrives(set, host(i), 64)
				}
				var stay []string
				for i := range 60 { // here and there
					stay = append(stay, host(i*7919%hosts))
				}
				if c.full {
					w.clock.Set(1 << 63) // for a line of more than a page
					for range 254 {
						w.arrives(set, stay[30], 64)
					}
					w.module.kept.bytes.Store(maxKept)
				}
				cursor := w.Table("t").Cursor()
				var text string
				read := func(size int) int {
					buf := make([]byte, size)
					n, err := cursor.ReadAt(buf, int64(len(text)))
					if err != nil {
						t.Fatal(err)
					}
					text += string(buf[:n])
					return n
				}
				read(first)
				for _, limit := range c.limits {
					for _, h := range stay {
						w.arrives(set, h, 64)
					}
					w.reload(func(p *Params) { p.ListTot = limit }, Info{CheckSet: Set})
					read(1000)
				}
				for read(1000) > 0 {
				}
				for _, h := range stay {
					if got := strings.Count(text, "src="+h+" "); got != 1 {
						t.Fatalf("after %d bytes: %s stays and appears %d times", first, h, got)
					}
				}
			}
		})
	}
}

// TestConcurrentResize resizes a table while packets, writers and readers use it.
// What is updated all the time stays.
func TestConcurrentResize(t *testing.T) {
	w := newWorld(t, func(p *Params) { p.ListTot = 500 }, Modern)
	set := w.rule(Info{CheckSet: Set})
	stay := make([]string, 20)
	for i := range stay {
		stay[i] = fmt.Sprintf("10.0.0.%d", i)
		w.arrives(set, stay[i], 64)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	until := func(do func(i int)) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					do(i)
				}
			}
		})
	}
	until(func(i int) {
		for _, h := range stay {
			w.arrives(set, h, 64)
		}
		w.arrives(set, fmt.Sprintf("10.0.1.%d", i%250), 64)
	})
	until(func(i int) {
		if err := w.write("t", fmt.Sprintf("+10.0.2.%d", i%250)); err != nil {
			t.Error(err)
		}
		if err := w.write("t", fmt.Sprintf("-10.0.2.%d", i%250)); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		until(func(i int) {
			lines := checkLines(t, w.read(w.Table("t").Cursor(), 64+i%9000))
			for _, h := range stay {
				if lines[h] != 1 {
					t.Errorf("%s stays and appears %d times", h, lines[h])
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		w.reload(func(p *Params) { p.ListTot, p.PktListTot = 100+random.Uint32N(900), random.Uint32N(100) }, Info{CheckSet: Set})
	}
	close(stop)
	wg.Wait()
}

// TestResizeInAFlood has addresses come after the table dropped what does not fit,
// and before it copies the others.
func TestResizeInAFlood(t *testing.T) {
	w := newWorld(t, nil, Classic)
	set := w.rule(Info{CheckSet: Set})
	for i := range 100 {
		w.arrives(set, fmt.Sprintf("10.0.0.%d", i), 64)
	}
	table := set.table
	table.copying.Lock() // stops warm
	moved := make(chan []Resized)
	go func() { moved <- w.reload(func(p *Params) { p.ListTot = 5 }, Info{CheckSet: Set}) }()
	for entries := uint32(100); entries > 5; {
		table.mu.Lock()
		entries = table.header.entries
		table.mu.Unlock()
		runtime.Gosched()
	}
	var last []string
	for i := range 30 {
		last = append(last, fmt.Sprintf("10.0.1.%d", i))
		w.arrives(set, last[i], 64)
	}
	table.copying.Unlock()
	if m := <-moved; len(m) != 1 || m[0].Kept != 5 || m[0].Dropped != 125 {
		t.Errorf("%+v", m)
	}
	w.holds(table, last[25:])
}

// TestResizeDoesNotFault: while packets wait, the kernel maps no pages.
func TestResizeDoesNotFault(t *testing.T) {
	w := filled(t, 30000)
	to, err := newRegion(Anonymous{}, 40000, 30)
	if err != nil {
		t.Fatal(err)
	}
	defer to.release()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	faults := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return u.Minflt
	}
	table := w.Table("t")
	table.warm(&to)
	before := faults()
	to.carryOver(&table.region, &table.module.moved)
	if n := faults() - before; n > 50 {
		t.Errorf("%d faults", n)
	}
}

// TestFollow has a table get fewer addresses between two parts of one read.
func TestFollow(t *testing.T) {
	w := filled(t, 20)
	for _, i := range []int{0, 1, 9} {
		if err := w.write("t", fmt.Sprintf("-10.1.0.%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	c, s := w.Table("t").Cursor(), scratch{}
	c.follow(&s)
	c.next, s.slot = 12, 11
	w.reload(func(p *Params) { p.ListTot = 17 }, Info{CheckSet: Set})
	c.follow(&s)
	if c.next != 9 || s.slot != 8 {
		t.Errorf("slot 12 is %d now, and 11 is %d", c.next, s.slot)
	}
}
