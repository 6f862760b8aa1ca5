package state

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// FuzzSnapshot begins with a file that somebody has put in the place of a snapshot, or
// of a table's file in memory: anything at all, or one that is almost good, with a
// checksum that is. The table that comes of it works, and can be saved.
func FuzzSnapshot(f *testing.F) {
	live, saved := f.TempDir(), f.TempDir()
	now := boot{250, 1 << 20, time.Unix(1796000000, 0)}
	h := beginIn(f, live, saved, now, recent.Info{Name: "t"})
	for _, text := range []string{"+192.0.2.1", "+2001:db8::1", "+192.0.2.1", "+192.0.2.3", "-192.0.2.3"} {
		h.write("t", text)
	}
	h.save()
	good := make(map[bool][]byte) // by inMemory
	for inMemory, path := range map[bool]string{true: h.live.path("t"), false: h.path("t")} {
		var err error
		if good[inMemory], err = os.ReadFile(path); err != nil {
			f.Fatal(err)
		}
	}
	h.stop()

	f.Fuzz(func(t *testing.T, inMemory, anything bool, data []byte) {
		text := data
		if !anything {
			text = append([]byte(nil), good[inMemory]...)
			lab.Garble(data[:min(len(data), 300)], text)
			if n := len(text) - 4; !inMemory {
				binary.NativeEndian.PutUint32(text[n:], crc32.Checksum(text[:n], castagnoli))
			}
		}
		for _, dir := range []string{live, saved} {
			all, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, path := range all {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
		path := filepath.Join(saved, "t"+savedSuffix)
		if inMemory {
			path = filepath.Join(live, "t"+tableSuffix)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		h := beginIn(t, live, saved, now, recent.Info{Name: "t"})
		h.lines("t")
		if perms := h.Table("t").Attr().Perms; perms > 0o7777 {
			t.Fatalf("the table's file has the permissions %o", perms)
		}
		for _, text := range []string{"+192.0.2.1", "+192.0.2.2", "-192.0.2.1", "+192.0.2.2"} {
			h.write("t", text)
		}
		h.save()
		before := h.lines("t")
		h.stop()
		h = beginIn(t, live, saved, now, recent.Info{Name: "t"})
		if got := h.lines("t"); got != before || len(h.warnings) > 0 {
			t.Fatalf("the next process has\n%s, not\n%s; warnings %q", got, before, h.warnings)
		}
		h.stop()
	})
}
