package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/fs"
	"recentfs/tests/lab"
)

// TestKeptMount unmounts a mount again and again, and has it fail to come back.
func TestKeptMount(t *testing.T) {
	lab.NeedRoot(t)
	var log bytes.Buffer
	newConfig(t, nil, noQueue).new(t, &log) // whose log is ours
	var restored bool
	var err error
	tries := 0
	k := &keptMount{name: "/x", hidden: func() string { return "; hidden" }, restore: func() (bool, error) {
		tries++
		return restored, err
	}}
	now := time.Now()
	broken, other := errors.New("read-only"), errors.New("no permission")
	for _, c := range []struct {
		name     string
		after    time.Duration
		restored bool
		err      error
		tries    int
		log      string // what is said, if anything
	}{
		{"it is there", 0, false, nil, 1, ""},
		{"unmounted", time.Second, true, nil, 1, `level=warning msg="/x was unmounted by somebody else, and is mounted again: no table has changed; to stop recentfs, send it SIGTERM; hidden"`},
		{"again", time.Second, true, nil, 1, ""},
		{"and again", time.Second, true, nil, 1, ""},
		{"after a minute", time.Minute, true, nil, 1, "/x was unmounted by somebody else 3 times"},
		{"it fails", time.Second, false, broken, 1, ""},
		{"it fails at once", 0, false, broken, 1, `level=error msg="/x was unmounted by somebody else, and cannot be mounted again: read-only; packets are decided as before; recentfs tries again, every 30s at the latest"`},
		{"not yet", 50 * time.Millisecond, false, broken, 0, ""},
		{"now", 50 * time.Millisecond, false, broken, 1, ""},
		{"another reason", time.Minute, false, other, 1, "no permission; packets"},
		{"the same", time.Minute, false, other, 1, ""},
		{"it comes back", time.Minute, true, nil, 1, ""},
		{"once more", 10 * time.Second, true, nil, 1, "somebody else, and is mounted"},
		{"one failure only", 10 * time.Second, false, broken, 1, ""},
		{"which nobody sees", 0, true, nil, 1, ""},
	} {
		now = now.Add(c.after)
		restored, err, tries = c.restored, c.err, 0
		log.Reset()
		k.look(now)
		if tries != c.tries {
			t.Errorf("%s: %d tries, want %d", c.name, tries, c.tries)
		}
		if got := log.String(); strings.Count(got, "\n") != min(1, len(c.log)) || !strings.Contains(got, c.log) {
			t.Errorf("%s: the log has %q, want %q", c.name, got, c.log)
		}
		if k.failing != (c.err != nil) || k.failing && k.mayHaveEnded() != nil {
			t.Errorf("%s: failing: %v", c.name, k.failing)
		}
	}
}

// TestMountsStay unmounts both mounts, with packets and without: the tables stay,
// and nothing is left behind.
func TestMountsStay(t *testing.T) {
	names := visitorNames()[:2]
	vs := invite(t, names)
	var log lab.Output
	s := newConfig(t, names, seenRules).start(t, &log)
	vs.await(t, s)
	umounts := 0
	repeat(t, func() {
		for _, flags := range []int{0, unix.MNT_DETACH} {
			for _, m := range []*fs.Mountpoint{s.tables, s.module} {
				lab.Eventually(t, "umount", func() error { return unix.Unmount(m.Dir(), flags) }) // EBUSY while sh ends
				umounts++
				lab.Eventually(t, "the mount is back", func() error {
					text, err := inMount(s, "cat", "../xt_recent.module/parameters/ip_list_tot", "ns/"+names[0]+"/seen")
					if err != nil || !bytes.HasPrefix(text, []byte("100\nsrc=127.0.0.1 ")) {
						return fmt.Errorf("%v: %q", err, text)
					}
					return nil
				})
			}
		}
		vs.await(t, s)
	})
	if n := strings.Count(log.String(), "was unmounted by somebody else"); n == 0 || n > 4 {
		t.Errorf("%d umounts were said %d times:\n%s", umounts, n, &log)
	}
	vs.leave(t)
}

// TestRest has a long look at the mounts make the rest longer, within limits.
func TestRest(t *testing.T) {
	for _, c := range []struct{ look, want time.Duration }{
		{0, shortestRest},
		{shortestRest / restFactor, shortestRest},
		{shortestRest, restFactor * shortestRest},
		{longestRest / restFactor, longestRest},
		{longestRest, longestRest},
	} {
		if got := rest(c.look); got != c.want {
			t.Errorf("after a look of %v it rests %v, want %v", c.look, got, c.want)
		}
	}
}

// TestHiddenFiles has a writer's file under one of the mounts.
func TestHiddenFiles(t *testing.T) {
	lab.NeedRoot(t)
	var log lab.Output
	c := newConfig(t, nil, noQueue)
	if err := os.Mkdir(c.Mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, c.Mountpoint+"/ssh", "+192.0.2.1\n")
	s := c.start(t, &log)
	const want = "the directory under the mount holds plain files, "
	if got := log.String(); strings.Count(got, want) != 1 || !strings.Contains(got, c.Mountpoint+": "+want) {
		t.Errorf("it says %q", got)
	}
	if got := s.keep(tablesMount, s.tables).hidden(); !strings.HasPrefix(got, "; "+want+`["ssh"]`) {
		t.Errorf("of the tables: %q", got)
	}
	if got := s.keep(moduleMount, s.module).hidden(); got != "" {
		t.Errorf("of the module: %q", got)
	}
}
