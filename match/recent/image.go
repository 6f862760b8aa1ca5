package recent

import (
	"io"
	"unsafe"
)

// imageStep is how many bytes of slots are copied at a time.
const imageStep = 64 << 10

// WriteImage writes an image of the table's region: its header, and the slots that
// were in use at some time. No packet waits for more than a copy of imageStep bytes.
// Each entry is of one moment, and an entry that stays is in it. It returns how
// often the table was changed before. The error is w's, or EIO where the table is
// gone or was flushed meanwhile.
func (t *Table) WriteImage(w io.Writer) (changes uint64, err error) {
	t.mu.Lock()
	dead, h := t.dead, *t.header
	t.mu.Unlock()
	if dead {
		return 0, errGone
	}
	h.change = change{}
	if _, err := w.Write(unsafe.Slice((*byte)(unsafe.Pointer(&h)), slotsAt)); err != nil {
		return 0, err
	}
	var b []byte
	slots := max(1, imageStep/h.stride)
	for n := uint32(0); n <= h.used; n += slots {
		if b, err = t.appendSlots(b[:0], &h, n, min(n+slots, h.used+1)); err != nil {
			return 0, err
		}
		if _, err := w.Write(b); err != nil {
			return 0, err
		}
	}
	return h.sequence, nil
}

// Changes is how often the table was changed.
func (t *Table) Changes() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header.sequence
}

// appendSlots appends the slots from first to before last, as Cursor.copyEntries
// copies. h is the header of the image.
func (t *Table) appendSlots(b []byte, h *header, first, last uint32) ([]byte, error) {
	t.copying.RLock()
	defer t.copying.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	for try := 0; ; try++ {
		if now := t.header; t.dead || now.key != h.key || now.limit != h.limit || now.stride != h.stride {
			return b, errGone
		}
		r, sequence := t.region, t.header.sequence
		slots := unsafe.Slice((*byte)(unsafe.Pointer(r.slot(first))), uintptr(last-first)*r.stride)
		if try == copyTries {
			return append(b, slots...), nil
		}
		t.mu.Unlock()
		all := append(b, slots...)
		t.mu.Lock()
		if t.header.sequence == sequence {
			return all, nil
		}
	}
}

// ImageSizes are the size of the region of which a header begins an image, and that
// of the whole image.
func ImageSizes(start []byte) (region, image uint64, err error) {
	if uint64(len(start)) < slotsAt {
		return 0, 0, invalid("it has %d bytes: not even a header", len(start))
	}
	var h header
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&h)), slotsAt), start)
	if err := h.verify(); err != nil {
		return 0, 0, err
	}
	if h.used > h.limit {
		return 0, 0, invalid("%d slots were used, of %d", h.used, h.limit)
	}
	return h.size(), h.slotsEnd(h.used), nil
}

// ImageHeader is how many bytes ImageSizes needs.
const ImageHeader = int(slotsAt)
