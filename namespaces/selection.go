package namespaces

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// All selects every namespace of Directory and this process's own.
	All = "all"
	// host names this process's own namespace where Directory has no name for it.
	host = "host"
)

// Selection says which namespaces the user wants, whether they exist or not.
type Selection struct {
	places []place
	all    bool
}

// place is a path where a namespace may be.
type place struct {
	name, path string
	process    *os.File // a pidfd if the place is a process, else nil
}

// Found is a namespace that exists now.
type Found struct {
	// Name is the last element of a path, a process's id, or a name in
	// Directory. It has no slash, and is empty only as Select says.
	Name string
	Path string
	ID   ID
	// Names are all names under which it was found. Name is the first.
	Names []string
}

// ErrGone means that a namespace is no longer in the place where it was found.
var ErrGone = errors.New("the network namespace is gone")

// Open opens the namespace that was found.
func (f Found) Open() (*Namespace, error) {
	n, err := Open(f.Path)
	if err == nil && n.id == f.ID {
		if err := n.reopenInside(); err != nil {
			return nil, err
		}
		return n, nil
	}
	if err == nil {
		n.Close()
	}
	if id, gone := identify(f.Path); gone != nil || id != f.ID || err == nil {
		return nil, ErrGone
	}
	return nil, err
}

// Select parses the names of namespaces on a command line: a name in Directory,
// a path, a process's id, or All. Each must exist now; later it may come and go.
// Two places with the same name are an error. No names at all select this
// process's own namespace, which then has the empty name.
func Select(texts []string) (*Selection, error) {
	s, err := Parse(texts)
	if err != nil {
		return nil, err
	}
	if len(texts) == 0 {
		return s, nil
	}
	for i := range s.places {
		if err := s.places[i].open(); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Parse is Select without a look at what exists. Only Names and CouldSelect may be called
// of its Selection.
func Parse(texts []string) (*Selection, error) {
	s := &Selection{}
	if len(texts) == 0 {
		s.places = []place{{path: ownPath}}
	}
	for _, text := range texts {
		if text == All {
			s.all = true
			continue
		}
		p, err := parse(text)
		if err == nil {
			err = s.add(p)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// processNet matches what stands for a process: its id, or a path in /proc.
var processNet = regexp.MustCompile(`^(?:/proc/)?(\d+)(?:/ns/net)?$`)

// Locate returns the path of a namespace. It parses text as Select does, but
// refuses All.
func Locate(text string) (string, error) {
	p, err := parse(text)
	return p.path, err
}

// parse turns a name, a path or a process's id into a place.
func parse(text string) (place, error) {
	if m := processNet.FindStringSubmatch(text); m != nil {
		return place{name: m[1], path: processPath(m[1])}, nil
	}
	if strings.Contains(text, "/") {
		path, err := filepath.Abs(text)
		return place{name: filepath.Base(path), path: path}, err
	}
	if text == "" || text == "." || text == ".." || text == All {
		return place{}, fmt.Errorf("network namespace %q: name one of 'ip netns list', a path or a process id", text)
	}
	return place{name: text, path: filepath.Join(Directory, text)}, nil
}

func (s *Selection) add(p place) error {
	for _, other := range s.places {
		if other.name == p.name && other.path != p.path {
			return fmt.Errorf("network namespaces %s and %s would both be called %s: give one of them another name with 'ip netns attach'", other.path, p.path, p.name)
		}
		if other.path == p.path {
			return nil
		}
	}
	s.places = append(s.places, p)
	return nil
}

// open makes sure that there is a namespace at the place.
func (p *place) open() error {
	// Open the pidfd first: if the process ends before Open, the pidfd shows it.
	if m := processNet.FindStringSubmatch(p.path); m != nil {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			return fmt.Errorf("network namespace %s: %w", m[1], err)
		}
		if err := checkProc(); err != nil {
			return fmt.Errorf("network namespace of process %d: %w", pid, err)
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return fmt.Errorf("network namespace of process %d: %w", pid, err)
		}
		p.process = os.NewFile(uintptr(fd), "pidfd")
	}
	n, err := Open(p.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("network namespace %s: %s is not there: see 'ip netns list', or create it first", p.name, p.path)
	case err != nil:
		return fmt.Errorf("network namespace %s: %w", p.name, err)
	}
	return n.Close()
}

// Names reports whether a name was selected explicitly, not only as one of All.
func (s *Selection) Names(name string) bool {
	return slices.ContainsFunc(s.places, func(p place) bool { return p.name == name })
}

// CouldSelect reports whether a namespace with that name is selected whenever it
// exists.
func (s *Selection) CouldSelect(name string) bool { return s.all || s.Names(name) }

// IsThere reports whether the namespace is in the place where it was found.
func (f Found) IsThere() bool {
	id, err := identify(f.Path)
	return err == nil && id == f.ID
}

// CouldSelectPath reports whether a namespace is selected where it is at that path.
func (s *Selection) CouldSelectPath(path string) bool {
	if slices.ContainsFunc(s.places, func(p place) bool { return p.path == path }) {
		return true
	}
	return s.all && (path == ownPath || filepath.Dir(path) == Directory && filepath.Clean(path) == path)
}

// Close releases the selection. No other method may run then or later.
func (s *Selection) Close() {
	for _, p := range s.places {
		if p.process != nil {
			p.process.Close()
		}
	}
}

// Present returns the selected namespaces that exist now, each of them once: in
// the order of the selection, then in the order of Directory. If two namespaces
// have the same name, the first one keeps it; with All, host is always this
// process's own. An error means that Present could not find out.
func (s *Selection) Present() ([]Found, error) {
	own, err := own()
	if err != nil {
		return nil, err
	}
	var list []Found
	at, names := make(map[ID]int), make(map[string]bool)
	take := func(name, path string) {
		id, err := identify(path)
		// A file in Directory without a mount is not a namespace: ip-netns(8)
		// creates it before the mount and removes it after.
		if err != nil || id.Dev != own.Dev || names[name] || s.all && name == host && id != own {
			return
		}
		names[name] = true
		if i, known := at[id]; known {
			list[i].Names = append(list[i].Names, name)
			return
		}
		at[id] = len(list)
		list = append(list, Found{name, path, id, []string{name}})
	}
	for _, p := range s.places {
		if p.process == nil || !exited(p.process) {
			take(p.name, p.path)
		}
	}
	if !s.all {
		return list, nil
	}
	files, err := os.ReadDir(Directory)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // the first name creates it
		return nil, err
	}
	for _, f := range files {
		take(f.Name(), filepath.Join(Directory, f.Name()))
	}
	take(host, ownPath)
	return list, nil
}

// exited reports whether the process of a pidfd has ended.
func exited(process *os.File) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
}
