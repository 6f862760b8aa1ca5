package recent

import (
	"bytes"
	"syscall"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
)

// Write does what a write(2) of data at position pos of the table's file does:
// recent_mt_proc_write. "+ADDRESS" adds a stamp, "-ADDRESS" removes the
// address, "/" flushes. A write does one of these, at position 0 only. Write
// returns how many bytes it took, and the position afterwards, which "/" does not
// move. Errors are EINVAL, ESPIPE, ENOSPC where a Memory has no more, and, once the
// table is gone, EIO. They change nothing. Module.Refused tells of those with EINVAL.
func (t *Table) Write(data []byte, pos int64) (n int, next int64, err error) {
	return t.WriteNoted(nil, data, pos)
}

// WriteNoted is Write, with a note of what was done.
func (t *Table) WriteNoted(w *Written, data []byte, pos int64) (n int, next int64, err error) {
	if len(data) == 0 {
		return 0, pos, nil
	}
	data = data[:min(len(data), t.module.Params().maxWrite())]
	if pos != 0 {
		return 0, pos, t.unlessGone(syscall.ESPIPE)
	}
	size := int64(len(data))
	switch data[0] {
	case '/':
		var old region
		err := t.mutate(func() error {
			w.about(t, len(data), pos)
			old = t.flush()
			w.end(nil)
			return nil
		})
		if err != nil {
			return 0, pos, err
		}
		t.release(old)
		return len(data), pos, nil
	case '+', '-':
	default:
		return 0, pos, t.refuse(`need "+ip", "-ip" or "/"`)
	}
	a, family, ok := parseAddr(data[1:])
	if !ok {
		return 0, pos, t.refuse("illegal address")
	}
	err = t.mutate(func() error {
		w.about(t, len(data), pos+size)
		err := t.apply(a, family, data[0] == '+')
		w.end(err)
		return err
	})
	if err != nil {
		return 0, pos, err
	}
	return len(data), pos + size, nil
}

// Refused are writes that were EINVAL.
type Refused struct {
	Count         uint64
	Table, Reason string // of the last
}

// Refused are the writes that the tables of all namespaces have refused. The
// kernel logs each of them by pr_info. Here whoever logs asks now and then, so
// that a writer does not wait and cannot fill the log.
func (m *Module) Refused() Refused {
	m.refusing.Lock()
	defer m.refusing.Unlock()
	return m.refused
}

// unlessGone is the error of a write, or EIO where the table is gone: there
// proc_reg_write does not get to the module.
func (t *Table) unlessGone(err error) error {
	if t.Gone() {
		return errGone
	}
	return err
}

// refuse counts a write that is EINVAL.
func (t *Table) refuse(reason string) error {
	if err := t.unlessGone(nil); err != nil {
		return err
	}
	m := t.module
	m.refusing.Lock()
	defer m.refusing.Unlock()
	m.refused = Refused{m.refused.Count + 1, t.name, reason}
	return syscall.EINVAL
}

// apply adds a stamp to an address, or removes the address. A new address gets
// the TTL 0; any other keeps its TTL. t.mu is held, by lockToChange.
func (t *Table) apply(a addr.Addr, family uint8, add bool) error {
	n := t.lookup(a, family, 0)
	switch {
	case n == 0 && add && t.isShort():
		return syscall.ENOSPC
	case n == 0 && add:
		t.add(a, family, 0, t.module.clock.Now())
	case n != 0 && add:
		t.update(n, t.slot(n).ttl, t.module.clock.Now(), 0)
	case n != 0:
		t.drop(n)
	}
	return nil
}

// parseAddr reads the address of a write. A colon before any NUL, even one after
// the end of the line, makes it IPv6.
func parseAddr(text []byte) (a addr.Addr, family uint8, ok bool) {
	visible := text
	if i := bytes.IndexByte(text, 0); i >= 0 {
		visible = text[:i]
	}
	if bytes.IndexByte(visible, ':') >= 0 {
		a, ok = addr.Parse6(text)
		return a, unix.NFPROTO_IPV6, ok
	}
	a, ok = addr.Parse4(text)
	return a, unix.NFPROTO_IPV4, ok
}
