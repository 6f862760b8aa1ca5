package live

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/tests/lab"
)

// compareTables compares all tables entry by entry.
func (r *run) compareTables() {
	r.t.Helper()
	for _, name := range r.used() {
		kernel, kerr := r.kernelTable(name)
		ours, oerr := os.ReadFile(r.d.File(name))
		if kerr != nil || oerr != nil {
			r.t.Fatalf("table %s: kernel %v, ours %v", name, kerr, oerr)
		}
		r.count.tables++
		if why := r.differ(kernel, string(ours)); why != "" {
			r.differences = append(r.differences, fmt.Sprintf("step %d, table %s: %s\nkernel:\n%sours:\n%s%+v",
				len(r.spans), name, why, kernel, ours, r.steps[len(r.spans)-1]))
		}
	}
}

func (r *run) kernelTable(name string) (string, error) {
	fd, err := unix.Openat(r.tables, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return fdRead(fd)
}

// differ says how two tables differ.
func (r *run) differ(kernel, ours string) string {
	ke, kerr := parseEntries(kernel)
	oe, oerr := parseEntries(ours)
	if kerr != nil || oerr != nil {
		return fmt.Sprintf("kernel %v, ours %v", kerr, oerr)
	}
	if len(ke) != len(oe) {
		return fmt.Sprintf("the kernel has %d entries, ours %d", len(ke), len(oe))
	}
	r.count.entries += int64(len(ke))
	if len(ke) == 100 { // ip_list_tot
		r.count.full++
	}
	for i, k := range ke {
		o := oe[i]
		if k.Src != o.Src || k.TTL != o.TTL || k.Oldest != o.Oldest || len(k.Stamps) != len(o.Stamps) {
			return fmt.Sprintf("the kernel has %+v, ours %+v", k, o)
		}
		r.count.stamps += int64(len(k.Stamps)) + 1
		for j, s := range append(k.Stamps, k.LastSeen) {
			twin := append(o.Stamps, o.LastSeen)[j]
			if !r.twins(jiffies.Jiffies(s), jiffies.Jiffies(twin)) {
				return fmt.Sprintf("of %s the kernel's stamp %d is %d, ours %d", k.Src, j, s, twin)
			}
		}
	}
	return ""
}

// twins reports whether two stamps are a jiffy apart at most or, if a step took
// longer, both within that step.
func (r *run) twins(a, b jiffies.Jiffies) bool {
	if d := a.Sub(b); -1 <= d && d <= 1 {
		return true
	}
	inside := func(s span, j jiffies.Jiffies) bool { return j.Sub(s.from) >= -1 && s.to.Sub(j) >= -1 }
	for _, s := range r.spans {
		if s.to.Sub(s.from) > 1 && inside(s, a) && inside(s, b) {
			r.count.late++
			return true
		}
	}
	return false
}

// parseEntries reads the lines of a table, sorted by address.
func parseEntries(text string) ([]lab.Entry, error) {
	entries, err := lab.ParseEntries(text)
	slices.SortFunc(entries, func(a, b lab.Entry) int { return strings.Compare(a.Src, b.Src) })
	return entries, err
}

// compareCounts compares what the rules have counted.
func (r *run) compareCounts() {
	r.t.Helper()
	kernel := ""
	for _, f := range lab.Families {
		kernel += r.ns.Sh(r.t, f.Tool+"-legacy-save -c -t mangle | grep -- '-A LIVE -p' || true")
	}
	k, o := ruleCounts(kernel, "LIVE"), ruleCounts(r.d.Ask("rules"), "QUEUE0")
	if !slices.Equal(k, o) || len(k) != len(r.rules) {
		r.differences = append(r.differences, fmt.Sprintf("the kernel's rules count %v, ours %v", k, o))
	}
}

var ruleCount = regexp.MustCompile(`(?m)^(\[\d+:\d+\]) -A (\S+)`)

// ruleCounts are the counters of a chain's rules.
func ruleCounts(text, chain string) (counts []string) {
	for _, m := range ruleCount.FindAllStringSubmatch(text, -1) {
		if m[2] == chain {
			counts = append(counts, m[1])
		}
	}
	return counts
}
