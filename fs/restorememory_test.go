package fs

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// TestRestoreMemory has somebody unmount again and again. The connections that have
// ended leave no memory behind that waits for collections to come by themselves.
func TestRestoreMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	h := modern(t)
	h.rule(t, "foo")
	write(t, h.path("foo"), "+192.0.2.1")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 50 {
		umount(t, h.dir, 0)
		<-h.m.Ended()
		h.restore(t)
		content(t, h.path("foo"))
	}
	runtime.ReadMemStats(&after)
	const most = 16 << 20 // some connections
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > most {
		t.Errorf("the heap has grown by %d MB", grown>>20)
	}
}
