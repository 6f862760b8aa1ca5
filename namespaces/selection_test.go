package namespaces

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// TestParse parses names of places, whether these exist or not.
func TestParse(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, c := range []struct{ text, name, path string }{ // name empty: refused
		{"red", "red", "/run/netns/red"},
		{"a b", "a b", "/run/netns/a b"},
		{"...", "...", "/run/netns/..."},
		{"net", "net", "/run/netns/net"},
		{"12x", "12x", "/run/netns/12x"},
		{"-1", "-1", "/run/netns/-1"},
		{"/run/docker/netns/f00", "f00", "/run/docker/netns/f00"},
		{"//run//netns/./red", "red", "/run/netns/red"},
		{"/run/netns/blue/../red", "red", "/run/netns/red"},
		{"./red", "red", dir + "/red"},
		{"x/red", "red", dir + "/x/red"},
		{"12", "12", "/proc/12/ns/net"},
		{"/proc/12", "12", "/proc/12/ns/net"},
		{"/proc/12/ns/net", "12", "/proc/12/ns/net"},
		{"/proc/12/task/13/ns/net", "net", "/proc/12/task/13/ns/net"},
		{"/proc/self/ns/net", "net", "/proc/self/ns/net"},
		{"", "", ""},
		{".", "", ""},
		{"..", "", ""},
		{"all", "", ""},
	} {
		t.Run(strconv.Quote(c.text), func(t *testing.T) {
			p, err := parse(c.text)
			path, locateErr := Locate(c.text)
			if path != p.path || (err == nil) != (locateErr == nil) {
				t.Errorf("Locate: %q, %v; parse: %q, %v", path, locateErr, p.path, err)
			}
			switch {
			case c.name == "" && err == nil:
				t.Errorf("%+v, want an error", p)
			case c.name == "" && !strings.Contains(err.Error(), strconv.Quote(c.text)):
				t.Errorf("the error does not name %q: %v", c.text, err)
			case c.name != "" && (err != nil || p.name != c.name || p.path != c.path):
				t.Errorf("%+v, %v; want %s at %s", p, err, c.name, c.path)
			}
		})
	}
}

func TestSelect(t *testing.T) {
	red, blue := newNamespace(t), newNamespace(t)
	bind(t, red, named("red"))
	bind(t, blue, named("blue"))
	elsewhere := t.TempDir()
	bind(t, blue, filepath.Join(elsewhere, "red"))
	bind(t, blue, filepath.Join(elsewhere, "green"))
	p := startProcess(t, red)
	gone := startProcess(t, red)
	gone.end()
	before := lab.Descriptors(t)
	for _, c := range []struct {
		name  string
		texts []string
		want  string // the names that are present, or part of the error
		fails bool
	}{
		{"none", nil, "", false},
		{"a name", []string{"red"}, "red", false},
		{"two names", []string{"red", "blue"}, "red blue", false},
		{"in the order of the selection", []string{"blue", "red"}, "blue red", false},
		{"a path", []string{elsewhere + "/green"}, "green", false},
		{"the path of a name", []string{"/run/netns/red"}, "red", false},
		{"a process", []string{p.pid()}, p.pid(), false},
		{"a process by its path", []string{"/proc/" + p.pid() + "/ns/net"}, p.pid(), false},
		{"all", []string{"all"}, "blue red host", false},
		{"all and one of them", []string{"all", "red"}, "red blue host", false},
		{"all and another place", []string{elsewhere + "/green", "all"}, "green red host", false},
		{"all twice", []string{"all", "all"}, "blue red host", false},
		{"all and another place with the name of one of them", []string{elsewhere + "/red", "all"}, "red host", false},
		{"a place twice", []string{"red", "red"}, "red", false},
		{"a place twice, spelled in two ways", []string{"red", "/run//netns/red"}, "red", false},
		{"a process twice", []string{p.pid(), "/proc/" + p.pid()}, p.pid(), false},
		{"a namespace by two names", []string{"blue", elsewhere + "/green"}, "blue", false},
		{"a namespace by its name and a process", []string{p.pid(), "red"}, p.pid(), false},
		{"two places of one name", []string{"red", elsewhere + "/red"}, "would both be called red", true},
		{"a process and a name equal to its id", []string{p.pid(), "/run/netns/" + p.pid()}, "would both be called " + p.pid(), true},
		{"no such name", []string{"red", "nosuch"}, "network namespace nosuch: /run/netns/nosuch is not there", true},
		{"no such path", []string{elsewhere + "/nosuch"}, elsewhere + "/nosuch is not there", true},
		{"a process that has ended", []string{p.pid(), gone.pid()}, "network namespace of process " + gone.pid(), true},
		{"process 0", []string{"0"}, "network namespace of process 0: ", true},
		{"a number too large for a process id", []string{"99999999999999999999"}, "value out of range", true},
		{"a file that is no namespace", []string{"/etc/passwd"}, "/etc/passwd is no network namespace", true},
		{"a mount namespace", []string{"/proc/self/ns/mnt"}, "/proc/self/ns/mnt is no network namespace", true},
		{"the root directory", []string{"/"}, "/ is no network namespace", true},
		{"an empty name", []string{"red", ""}, `network namespace ""`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Select(c.texts)
			if err != nil {
				if !c.fails || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			defer s.Close()
			if got := names(s.Present()); c.fails || got != c.want {
				t.Errorf("%q are present, want %q", got, c.want)
			}
		})
	}
	if now := lab.Descriptors(t); now != before {
		t.Errorf("%d descriptors are open, before it was %d", now, before)
	}
}

func TestNamesAndCouldSelect(t *testing.T) {
	bind(t, newNamespace(t), named("red"))
	for _, c := range []struct {
		texts, name  string
		names, could bool
	}{
		{"red", "red", true, true},
		{"red", "blue", false, false},
		{"all", "red", false, true},
		{"all", "host", false, true},
		{"all red", "red", true, true},
		{"", "red", false, false},
	} {
		t.Run(c.texts+" "+c.name, func(t *testing.T) {
			s := selected(t, strings.Fields(c.texts)...)
			if names, could := s.Names(c.name), s.CouldSelect(c.name); names != c.names || could != c.could {
				t.Errorf("Names %v, CouldSelect %v; want %v, %v", names, could, c.names, c.could)
			}
		})
	}
}

// TestPresent calls Present while names and processes come and go. Each case
// starts where the case before it ended.
func TestPresent(t *testing.T) {
	red, blue, own := newNamespace(t), newNamespace(t), open(t, ownPath)
	p := startProcess(t, red)
	bind(t, red, named("red"))
	all, chosen := selected(t, "all"), selected(t, p.pid(), "red")
	for _, c := range []struct {
		name        string
		do          func()
		all, chosen string
	}{
		{"at first", func() {}, "red host", p.pid()},
		{"a name comes", func() { bind(t, blue, named("blue")) }, "blue red host", p.pid()},
		{"a second name before the first", func() { bind(t, blue, named("azure")) }, "azure red host", p.pid()},
		{"the first goes", func() { unbind(t, named("blue")) }, "azure red host", p.pid()},
		{"a file without a mount", func() { os.WriteFile(named("empty"), nil, 0o444) }, "azure red host", p.pid()},
		{"a directory", func() { os.Mkdir(named("folder"), 0o755) }, "azure red host", p.pid()},
		{"a link to nowhere", func() { os.Symlink("nowhere", named("link")) }, "azure red host", p.pid()},
		{"our own namespace gets a name", func() { bind(t, own, named("us")) }, "azure red us", p.pid()},
		{"our own namespace loses it", func() { unbind(t, named("us")) }, "azure red host", p.pid()},
		{"another namespace gets the name host", func() { unbind(t, named("azure")); bind(t, blue, named("host")) }, "red host", p.pid()},
		{"the name host goes", func() { unbind(t, named("host")) }, "red host", p.pid()},
		{"a process ends, its namespace has a name", func() { p.zombie(t) }, "red host", "red"},
		{"the process is waited for", p.end, "red host", "red"},
		{"the name gets another namespace", func() { unbind(t, named("red")); bind(t, blue, named("red")) }, "red host", "red"},
		{"all are gone", func() { unbind(t, named("red")) }, "host", ""},
	} {
		c.do()
		if got := names(all.Present()); got != c.all {
			t.Errorf("%s: of all, %q are present, want %q", c.name, got, c.all)
		}
		if got := names(chosen.Present()); got != c.chosen {
			t.Errorf("%s: of those chosen, %q are present, want %q", c.name, got, c.chosen)
		}
	}
	for _, left := range []string{"empty", "folder", "link"} {
		if err := os.Remove(named(left)); err != nil {
			t.Error(err)
		}
	}
}

// TestPresentOfAProcess ends a process, and another process gets its id.
func TestPresentOfAProcess(t *testing.T) {
	p := startProcess(t, newNamespace(t))
	s := selected(t, p.pid())
	p.end()
	s.places[0].path = ownPath // stands for the new process's path
	if got := names(s.Present()); got != "" {
		t.Errorf("%q are present", got)
	}
}

// TestExited asks whether a process has ended: the kernel reports a zombie in
// another way than a process that was waited for (pidfd_poll).
func TestExited(t *testing.T) {
	p := startProcess(t, newNamespace(t))
	pidfd := selected(t, p.pid()).places[0].process
	for _, c := range []struct {
		name string
		do   func()
		want bool
	}{
		{"running", func() {}, false},
		{"a zombie", func() { p.zombie(t) }, true},
		{"waited for", p.end, true},
	} {
		c.do()
		if got := exited(pidfd); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestFoundOpen opens a namespace some time after it was found.
func TestFoundOpen(t *testing.T) {
	red, blue := newNamespace(t), newNamespace(t)
	path := named("red")
	for _, c := range []struct {
		name      string
		meanwhile func(t *testing.T)
		want      error
	}{
		{"nothing happened", func(*testing.T) {}, nil},
		{"the name went and came back", func(t *testing.T) { unbind(t, path); bind(t, red, path) }, nil},
		{"the name went", func(t *testing.T) { unbind(t, path) }, ErrGone},
		{"the file stayed", func(t *testing.T) { unbind(t, path); os.WriteFile(path, nil, 0o444) }, ErrGone},
		{"the name has another namespace", func(t *testing.T) { unbind(t, path); bind(t, blue, path) }, ErrGone},
		{"the directory went", func(t *testing.T) { unbind(t, path); os.RemoveAll(Directory) }, ErrGone},
	} {
		t.Run(c.name, func(t *testing.T) {
			bind(t, red, path)
			list, _ := selected(t, "red").Present()
			if len(list) != 1 || list[0].Name != "red" || list[0].Path != path || list[0].ID != red.id {
				t.Fatalf("%+v are present", list)
			}
			c.meanwhile(t)
			before := lab.Descriptors(t)
			ns, err := list[0].Open()
			if !errors.Is(err, c.want) || (err == nil) != (ns != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if ns != nil {
				if ns.id != red.id {
					t.Errorf("opened %v, want %v", ns.id, red.id)
				}
				// As umount(8), which refuses a mount that is in use.
				if err := unix.Unmount(path, 0); err != nil {
					t.Errorf("the open namespace keeps its name: %v", err)
				}
				ns.Close()
			}
			if now := lab.Descriptors(t); now != before {
				t.Errorf("%d descriptors are open, before it was %d", now, before)
			}
		})
	}
	t.Run("a process ended", func(t *testing.T) {
		p := startProcess(t, red)
		list, _ := selected(t, p.pid()).Present()
		p.end()
		if ns, err := list[0].Open(); !errors.Is(err, ErrGone) {
			t.Errorf("%v, %v, want ErrGone", ns, err)
		}
	})
}
