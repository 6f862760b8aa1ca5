package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/recent"
)

// TestFull has no memory for more addresses: a write is refused, and changes
// nothing. For a packet the least recently seen address makes room.
func TestFull(t *testing.T) {
	dir := memoryDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", 3*step)); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	p := recent.DefaultParams(recent.Classic)
	p.ListTot = 1 << 20
	h := start(t, dir, 1000, p, recent.Info{Name: "t"})
	defer h.stop()
	table := h.Table("t")
	n := 0
	var err error
	for ; err == nil; n++ {
		_, _, err = table.Write(fmt.Appendf(nil, "+10.%d.%d.%d", n>>16, n>>8&255, n&255), 0)
	}
	n--
	if !errors.Is(err, unix.ENOSPC) || n < 2*step/192 || n > 3*step/192 {
		t.Fatalf("after %d addresses the error is %v", n, err)
	}
	full := h.text("t")
	if got := strings.Count(full, "\n"); got != n {
		t.Errorf("%d addresses were written, and the table has %d", n, got)
	}
	for _, text := range []string{"+10.0.0.5", "-10.0.0.7", "+192.0.2.1"} { // a known address, and room for one more
		h.write("t", text)
	}
	var batch recent.Batch
	h.rules[0].Match(&batch, h.time.Now(), unix.NFPROTO_IPV4, &[16]byte{192, 0, 2, 2}, nil, 64, false)
	batch.End()
	got := h.text("t")
	for address, want := range map[string]bool{"10.0.0.0": false, "10.0.0.1": true, "10.0.0.7": false, "192.0.2.1": true, "192.0.2.2": true} {
		if strings.Contains(got, "src="+address+" ") != want {
			t.Errorf("%s is in the table: %t", address, !want)
		}
	}
	h.write("t", "/")
	if got := h.text("t"); got != "" {
		t.Errorf("after / the table holds %d bytes", len(got))
	}
	h.write("t", "+192.0.2.3")
	if len(h.warnings) > 0 {
		t.Errorf("warnings %q", h.warnings)
	}
}
