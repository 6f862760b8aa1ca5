package device

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// FuzzMemory changes bytes of a connection's memory, and its length. The next process
// refuses it, or knows which requests are lost.
func FuzzMemory(f *testing.F) {
	const area = 64
	f.Fuzz(func(t *testing.T, more int16, garbage []byte) {
		m, err := NewMemory(area)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		s := m.shared
		s.agreed, s.dev = 1, 5
		s.slow[3].Store(7)
		bytes := unsafe.Slice((*byte)(unsafe.Pointer(s)), areaAt)
		defer unix.Munmap(unsafe.Slice(&bytes[0], int(areaAt)+area))
		in := unsafe.Offsetof(s.in)
		lab.Garble(garbage[:min(len(garbage), 300)], bytes[:unsafe.Offsetof(s.slow)+64], bytes[in:in+64])
		if err := unix.Ftruncate(m.fd, int64(areaAt)+area+int64(more)); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(uintptr(m.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		next, err := mapMemory(fd)
		if err != nil {
			unix.Close(fd)
			return
		}
		defer next.Close()
		defer unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(next.shared)), int(areaAt)+len(next.area)))
		if err := next.check(area); err != nil {
			return
		}
		if lost := next.lost(); len(next.Area()) != area || next.Dev() == 0 || len(lost) > maxSlow+1 {
			t.Fatalf("an area of %d bytes, st_dev %d, %d requests", len(next.Area()), next.Dev(), len(lost))
		}
		if next.nothingLost(); len(next.lost()) != 0 {
			t.Fatalf("%v are lost after all", next.lost())
		}
	})
}
