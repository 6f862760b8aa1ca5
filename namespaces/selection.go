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
	// host is the name of this process's own among all, where it has none.
	host = "host"
)

// Selection is which namespaces somebody wants, whether they are there or not.
type Selection struct {
	places []place
	all    bool
}

// place is where a namespace is to be found.
type place struct {
	name, path string
	process    *os.File // a pidfd, where the place is a process's
}

// Found is a namespace that is there.
type Found struct {
	// Name is the last element of a path, the number of a process, or the name
	// in Directory. It is not empty and has no slash.
	Name string
	Path string
	ID   ID
	// Names are all by which it was found, Name the first.
	Names []string
}

// ErrGone says that a namespace that was found is no longer where it was.
var ErrGone = errors.New("the network namespace is gone already")

// Open opens the namespace that was found.
func (f Found) Open() (*Namespace, error) {
	n, err := Open(f.Path)
	if err == nil && n.ID() == f.ID {
		if err := n.letGo(); err != nil {
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

// Select reads what names namespaces on a command line: a name of Directory, a
// path, a process's id, or All. A process that is gone, and a path or name that
// is not there now, is an error; later they may come and go. Two places of the
// same name are an error too.
func Select(texts []string) (*Selection, error) {
	s := &Selection{}
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
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// processNet is a path that stands for a process.
var processNet = regexp.MustCompile(`^(?:/proc/)?(\d+)(?:/ns/net)?$`)

// Locate is the path of a namespace that is named as for Select, but not by All.
func Locate(text string) (string, error) {
	p, err := parse(text)
	return p.path, err
}

// parse reads the name of a place.
func parse(text string) (place, error) {
	if m := processNet.FindStringSubmatch(text); m != nil {
		return place{name: m[1], path: processPath(m[1])}, nil
	}
	if strings.Contains(text, "/") {
		path, err := filepath.Abs(text)
		return place{name: filepath.Base(path), path: path}, err
	}
	if text == "" || text == "." || text == ".." || text == All {
		return place{}, fmt.Errorf("network namespace %q: a name of 'ip netns list', a path or a process id is needed", text)
	}
	return place{name: text, path: filepath.Join(Directory, text)}, nil
}

func (s *Selection) add(p place) error {
	for _, other := range s.places {
		if other.name == p.name && other.path != p.path {
			return fmt.Errorf("network namespaces %s and %s would both be called %s: name one of them by 'ip netns attach'", other.path, p.path, p.name)
		}
		if other.path == p.path {
			return nil
		}
	}
	// The pidfd first: then the path is that process's, or gone.
	if m := processNet.FindStringSubmatch(p.path); m != nil {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			return fmt.Errorf("network namespace %s: %w", m[1], err)
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return fmt.Errorf("network namespace of process %d: %w", pid, err)
		}
		p.process = os.NewFile(uintptr(fd), "pidfd")
	}
	s.places = append(s.places, p)
	n, err := Open(p.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("network namespace %s: %s is not there: see 'ip netns list', or make it first", p.name, p.path)
	case err != nil:
		return fmt.Errorf("network namespace %s: %w", p.name, err)
	}
	return n.Close()
}

// Names tells whether a namespace was selected by that name, and not as one of
// all.
func (s *Selection) Names(name string) bool {
	return slices.ContainsFunc(s.places, func(p place) bool { return p.name == name })
}

// May tells whether a namespace of that name may be in the selection at some
// time.
func (s *Selection) May(name string) bool { return s.all || s.Names(name) }

// Close ends the selection; it is not used by then.
func (s *Selection) Close() {
	for _, p := range s.places {
		if p.process != nil {
			p.process.Close()
		}
	}
}

// Present are those that are there now, each once: in the order of the selection
// and then of Directory. Of two namespaces with one name the first has it; host
// is this process's own in any case. An error says that it is not known.
func (s *Selection) Present() ([]Found, error) {
	own, err := Own()
	if err != nil {
		return nil, err
	}
	var list []Found
	at, names := make(map[ID]int), make(map[string]bool)
	take := func(name, path string) {
		id, err := identify(path)
		// A name's file that nothing is mounted on, yet or any more, is none.
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
	if err != nil && !errors.Is(err, os.ErrNotExist) { // absent before the first name
		return nil, err
	}
	for _, f := range files {
		take(f.Name(), filepath.Join(Directory, f.Name()))
	}
	take(host, ownPath)
	return list, nil
}

// exited tells whether the process of a pidfd is gone.
func exited(process *os.File) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
}
