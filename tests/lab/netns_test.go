package lab

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

func namespaceOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestNetnsThread makes namespaces from many threads, the main thread among
// them, which must stay where it is: others see the process in its namespace.
func TestNetnsThread(t *testing.T) {
	own := namespaceOf(t, "/proc/self/ns/net")
	for range 50 {
		var made sync.WaitGroup
		made.Go(func() { // on whatever thread is free
			ns := MakeNetns(t)
			defer ns.End()
			ns.Do(func() error {
				if unix.Gettid() == os.Getpid() {
					t.Error("the main thread is a namespace's")
				}
				if got := namespaceOf(t, "/proc/thread-self/ns/net"); got == own || got != namespaceOf(t, ns.Path) {
					t.Errorf("Do is in %s, the test in %s, Path leads to %s", got, own, namespaceOf(t, ns.Path))
				}
				return nil
			})
		})
		made.Wait()
		runtime.Gosched()
		if got := namespaceOf(t, "/proc/self/ns/net"); got != own {
			t.Fatalf("the process is in %s, before it was in %s", got, own)
		}
	}
}

// TestAlone finds /run empty and its mounts private to these tests.
func TestAlone(t *testing.T) {
	NeedRoot(t)
	files, err := os.ReadDir("/run")
	if err != nil || len(files) != 1 || files[0].Name() != "lock" {
		t.Errorf("/run has %v, %v; want lock alone", files, err)
	}
	if own, parent := namespaceOf(t, "/proc/self/ns/mnt"), namespaceOf(t, fmt.Sprintf("/proc/%d/ns/mnt", os.Getppid())); own == parent {
		t.Errorf("the tests share the mount namespace %s of the process that started them", own)
	}
}

func TestParseEntries(t *testing.T) {
	const line = "src=192.0.2.1 ttl: 64 last_seen: 4294900100 oldest_pkt: 2 4294900000, 4294900100\n"
	for _, c := range []struct {
		name, text string
		entries    int
		err        string // empty: none
	}{
		{"nothing", "", 0, ""},
		{"a line", line, 1, ""},
		{"two lines", line + line, 2, ""},
		{"a torn line", strings.TrimSuffix(line, "\n"), 0, "not a line"},
		{"another word", strings.Replace(line, "ttl", "TTL", 1), 0, "not a line"},
		{"no stamp", "src=192.0.2.1 ttl: 64 last_seen: 1 oldest_pkt: 2 \n", 0, "not a line"},
		{"a stamp beyond 64 bits", strings.Replace(line, "4294900000", "99999999999999999999", 1), 1, "out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries, err := ParseEntries(c.text)
			if len(entries) != c.entries || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, %v; want %d entries, error %q", entries, err, c.entries, c.err)
			}
		})
	}
	entries, _ := ParseEntries(line)
	if e := entries[0]; e.Src != "192.0.2.1" || e.TTL != 64 || e.LastSeen != 4294900100 || e.Oldest != 2 || len(e.Stamps) != 2 || e.Stamps[0] != 4294900000 {
		t.Errorf("%+v", e)
	}
}
