package fs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"recentfs/match/recent"
)

func TestReadersAndWriters(t *testing.T) {
	h := modern(t)
	h.rule(t, "foo")
	foo := h.path("foo")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			f, err := os.OpenFile(foo, os.O_RDWR, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for i := range 20 {
				if _, err := f.WriteAt(fmt.Appendf(nil, "+10.0.%d.%d\n", w, i), 0); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				text, err := os.ReadFile(foo)
				if err != nil || len(text) > 0 && text[len(text)-1] != '\n' {
					t.Errorf("read %q, %v", text, err)
				}
			}
		})
	}
	shared, err := os.Open(foo)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	for range 4 {
		wg.Go(func() {
			for off := range int64(50) {
				if _, err := shared.ReadAt(make([]byte, 64), off*10); err != nil && err != io.EOF {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(strings.Fields(content(t, foo))); got != 80 {
		t.Errorf("%d addresses, want 80", got)
	}
}

func TestLongDump(t *testing.T) {
	p := recent.DefaultParams(recent.Classic)
	p.ListTot = 5000
	h := mount(t, p)
	h.rule(t, "foo")
	want := make([]string, 5000)
	f, err := os.OpenFile(h.path("foo"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range want {
		want[i] = fmt.Sprintf("10.1.%d.%d", i/256, i%256)
		if _, err := f.WriteAt([]byte("+"+want[i]), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{100, 1000, 4096, 32 << 10, 1 << 20} {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var text []byte
		for buf := make([]byte, size); ; {
			n, err := f.Read(buf)
			text = append(text, buf[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Fields(addresses(string(text))); !slices.Equal(got, want) {
			t.Errorf("reads of %d bytes show %d addresses, want %d in their order", size, len(got), len(want))
		}
	}
}

func TestLongListing(t *testing.T) {
	h := modern(t)
	rules := make(map[string]*recent.Rule)
	for i := range 500 {
		name := fmt.Sprintf("%03d%s", i, strings.Repeat("x", 190))
		rules[name] = h.rule(t, name)
	}
	d, err := os.Open(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	seen := make(map[string]int)
	for {
		names, err := d.Readdirnames(1)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[names[0]]++
		if name := names[0]; name[0] == '0' { // what was listed goes
			h.reg.Destroy(rules[name])
			delete(rules, name)
		}
	}
	for name := range rules {
		if seen[name] != 1 {
			t.Errorf("%.3s... was listed %d times", name, seen[name])
		}
	}
	if again, err := filepath.Glob(h.path("*")); err != nil || len(again) != len(rules) {
		t.Errorf("then %d tables are listed, want %d (%v)", len(again), len(rules), err)
	}
}

func TestParameters(t *testing.T) {
	p := recent.DefaultParams(recent.Classic)
	p.Perms, p.UID, p.GID = 0o620, 65534, 4
	h := mount(t, p)
	h.rule(t, "foo")
	for _, c := range []struct{ name, script, want string }{
		{"file", "stat -c '%a %u %g %h %s %F' foo", "620 65534 4 1 0 regular empty file\n"},
		{"directory", "stat -c '%a %u %g %h %F' .", "555 0 0 2 directory\n"},
		{"owner", "echo +1.2.3.4 > foo && cut -d' ' -f1 foo", "src=1.2.3.4\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := shell(h.dir, 65534, c.script); got != c.want {
				t.Errorf("%s: %q, want %q", c.script, got, c.want)
			}
		})
	}
	if got := shell(h.dir, 33, "cat foo"); !strings.Contains(got, "Permission denied") {
		t.Errorf("another user reads %q", got)
	}
}
