package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemoryWarning(t *testing.T) {
	const v1 = "12:memory:/other\n1:name=systemd:/other\n"
	for _, c := range []struct {
		name, own string
		limits    map[string]string // memory.max by group
		used      uint64
		want      string // group and limit; ROOT is where the groups are
	}{
		{"no limit", "0::/a/b\n", map[string]string{"a/b": "max\n", "a": "max\n"}, 1 << 40, ""},
		{"enough", "0::/a/b\n", map[string]string{"a/b": "1048576\n", "a": "1048576\n"}, 1 << 20, ""},
		{"its own", "0::/a/b\n", map[string]string{"a/b": "1048575\n", "a": "max\n"}, 1 << 20, "take 1M, but ROOT/a/b/memory.max allows 1M:"},
		{"the one above", "0::/a/b\n", map[string]string{"a/b": "max\n", "a": "102400\n"}, 2<<20 + 1, "take 2049K, but ROOT/a/memory.max allows 100K:"},
		{"the root of a container", "0::/\n", map[string]string{"": "102400\n"}, 1 << 20, "take 1M, but ROOT/memory.max allows 100K:"},
		{"both versions", v1 + "0::/a\n", map[string]string{"a": "102400\n"}, 1 << 20, "take 1M, but ROOT/a/memory.max allows 100K:"},
		{"the old version alone", v1, map[string]string{"other": "102400\n"}, 1 << 20, ""},
		{"outside of a container", "0::/../x\n", map[string]string{}, 1 << 20, ""},
		{"nothing is known", "", nil, 1 << 20, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for group, limit := range c.limits {
				if err := os.MkdirAll(filepath.Join(root, group), 0o755); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(root, group, "memory.max"), limit)
			}
			own := filepath.Join(t.TempDir(), "cgroup")
			if c.own != "" {
				write(t, own, c.own)
			}
			want := strings.ReplaceAll(c.want, "ROOT", root)
			if got := memoryWarning(c.used, own, root); !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
