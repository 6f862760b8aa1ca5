package tables

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestErrors has each error say what is missing and what to do.
func TestErrors(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"one", "several/ns/blue"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "one/SSH"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("unmanaged", filepath.Join(root, "several/self")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, mount, netns, table, err string }{
		{"a table", "one", "", "SSH", ""},
		{"no such table", "one", "", "FTP", `one has no table "FTP" among its 1: a table is there as long as a rule names it`},
		{"no name", "one", "", "", `"" is no table's name`},
		{"a path", "one", "", "../one/SSH", `"../one/SSH" is no table's name`},
		{"no mount", "none", "", "SSH", "none: there are no tables: start 'recentfs run'"},
		{"no such table in a namespace", "several", "blue", "SSH", `ns/blue has no table "SSH" among its 0`},
		{"a namespace that is not served", "several", "red", "SSH", "network namespace red is not served there: see 'ls " + root + "/several/ns'"},
		{"the caller's is not served", "several", "", "SSH", "several/self: this network namespace has no tables: name one that has by --netns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Find(filepath.Join(root, c.mount), c.netns).Write(c.table, nil)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

// TestShowAll prints all tables that can be read, and warns of the others.
func TestShowAll(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"A": "nothing of the kind\n", "B": "src=192.0.2.1 ttl: 64 last_seen: 1 oldest_pkt: 1 1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out, warnings strings.Builder
	if err := Dir(dir).Show(nil, false, &out, &warnings); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(out.String(), "B: 1 address\n") || !strings.HasPrefix(warnings.String(), dir+"/A: ") {
		t.Errorf("it prints %q and warns of %q", &out, &warnings)
	}
	if err := Dir(dir).Show([]string{"A"}, false, &out, &warnings); err == nil {
		t.Error("a table that is asked for by name is no error")
	}
}
