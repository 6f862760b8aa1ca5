package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Tables are the names in the mount, sorted.
func (d *Daemon) Tables() (names []string) {
	d.T.Helper()
	files, err := os.ReadDir(d.Mount)
	if err != nil {
		d.T.Fatal(err)
	}
	for _, f := range files {
		names = append(names, f.Name())
	}
	slices.Sort(names)
	return names
}

// Entry is one line of a table's file.
type Entry struct {
	Src      string
	TTL      int
	LastSeen uint64 // in jiffies, as Stamps
	Oldest   int    // oldest_pkt, the ring index
	Stamps   []uint64
}

var entryLine = regexp.MustCompile(`^src=(\S+) ttl: (\d+) last_seen: (\d+) oldest_pkt: (\d+) (\d+(?:, \d+)*)\n$`)

// ParseEntries reads a table's lines. A line that recent_seq_show would not
// print is an error.
func ParseEntries(text string) (entries []Entry, err error) {
	for line := range strings.Lines(text) {
		m := entryLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("not a line of xt_recent: %q", line)
		}
		number := func(s string) uint64 {
			n, bad := strconv.ParseUint(s, 10, 64)
			if bad != nil {
				err = fmt.Errorf("%q: %w", line, bad)
			}
			return n
		}
		e := Entry{Src: m[1], TTL: int(number(m[2])), LastSeen: number(m[3]), Oldest: int(number(m[4]))}
		for s := range strings.SplitSeq(m[5], ", ") {
			e.Stamps = append(e.Stamps, number(s))
		}
		entries = append(entries, e)
	}
	return entries, err
}

// Chronological are entries as lines, sorted: address, ttl, and the stamps in the order
// of time, wherever the ring begins.
func Chronological(entries []Entry) (lines []string) {
	for _, e := range entries {
		first := e.Oldest % len(e.Stamps)
		lines = append(lines, fmt.Sprint(e.Src, " ", e.TTL, " ", append(slices.Clone(e.Stamps[first:]), e.Stamps[:first]...)))
	}
	slices.Sort(lines)
	return lines
}

// Read is what the file of one of the daemon's tables says.
func (d *Daemon) Read(table string) []Entry {
	d.T.Helper()
	return d.ReadPath(d.File(table))
}

// ReadPath is Read for the path of a table's file.
func (d *Daemon) ReadPath(path string) []Entry {
	d.T.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		d.T.Fatal(err)
	}
	entries, err := ParseEntries(string(text))
	if err != nil {
		d.T.Fatalf("%s: %v", path, err)
	}
	return entries
}

// Only is the entry of a table that must have just one.
func (d *Daemon) Only(table string) Entry {
	d.T.Helper()
	entries := d.Read(table)
	if len(entries) != 1 {
		d.T.Fatalf("%s has %d entries, want 1: %v", table, len(entries), entries)
	}
	return entries[0]
}

// Folder is the path of a namespace's folder in the mount.
func (d *Daemon) Folder(name string) string { return filepath.Join(d.Mount, "ns", name) }

// AwaitFolders waits until the mount shows these namespaces and no others.
func (d *Daemon) AwaitFolders(want ...string) {
	d.T.Helper()
	slices.Sort(want) // as ReadDir does
	Eventually(d.T, fmt.Sprintf("folders %q", want), func() error {
		files, err := os.ReadDir(filepath.Join(d.Mount, "ns"))
		if err != nil {
			return err
		}
		var names []string
		for _, f := range files {
			names = append(names, f.Name())
		}
		if fmt.Sprint(names) != fmt.Sprint(want) {
			return fmt.Errorf("there are %q; %s", names, &d.Output)
		}
		return nil
	})
}
