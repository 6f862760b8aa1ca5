package tests

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
)

// compareTables compares all tables entry by entry.
func (r *run) compareTables() {
	r.t.Helper()
	for _, name := range r.used() {
		kernel, kerr := r.kernelTable(name)
		ours, oerr := os.ReadFile(r.d.file(name))
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
		if k.src != o.src || k.ttl != o.ttl || k.oldest != o.oldest || len(k.stamps) != len(o.stamps) {
			return fmt.Sprintf("the kernel has %+v, ours %+v", k, o)
		}
		r.count.stamps += int64(len(k.stamps)) + 1
		for j, s := range append(k.stamps, k.lastSeen) {
			twin := append(o.stamps, o.lastSeen)[j]
			if !r.twins(s, twin) {
				return fmt.Sprintf("of %s the kernel's stamp %d is %d, ours %d", k.src, j, s, twin)
			}
		}
	}
	return ""
}

// twins reports whether two stamps are a jiffy apart at most, or where a step
// took longer, within that step.
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
func parseEntries(text string) (entries []entry, err error) {
	for line := range strings.Lines(text) {
		m := entryLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			return nil, fmt.Errorf("not a line of xt_recent: %q", line)
		}
		number := func(s string) uint64 {
			n, bad := strconv.ParseUint(s, 10, 64)
			if bad != nil {
				err = bad
			}
			return n
		}
		e := entry{src: m[1], ttl: int(number(m[2])), lastSeen: jiffies.Jiffies(number(m[3])), oldest: int(number(m[4]))}
		for s := range strings.SplitSeq(m[5], ", ") {
			e.stamps = append(e.stamps, jiffies.Jiffies(number(s)))
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.src, b.src) })
	return entries, err
}

// compareCounts compares what the rules have counted.
func (r *run) compareCounts() {
	r.t.Helper()
	kernel := ""
	for _, f := range families {
		kernel += r.ns.sh(r.t, f.tool+"-legacy-save -c -t mangle | grep -- '-A LIVE -p' || true")
	}
	k, o := ruleCounts(kernel, "LIVE"), ruleCounts(r.d.ask("rules"), "QUEUE0")
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

// ask has the daemon answer on its control socket.
func (d *daemon) ask(request string) string {
	d.t.Helper()
	conn, err := net.Dial("unix", d.control)
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(conn, request)
	var text strings.Builder
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			break
		}
	}
	answer, ok := strings.CutPrefix(text.String(), "ok\n")
	if !ok {
		d.t.Fatalf("%s: %q", request, text.String())
	}
	return answer
}
