package helper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"recentfs/fs"
	"recentfs/namespaces"
)

// request asks a helper to do something. What it needs for that is in the other fields.
type request struct {
	Do     action           `json:"do"`
	Want   *Allowed         `json:"want,omitempty"`
	Again  bool             `json:"again,omitempty"`
	Dir    string           `json:"dir,omitempty"`
	Site   fs.Site          `json:"site"`
	Ended  bool             `json:"ended,omitempty"`
	Dev    uint64           `json:"dev,omitempty"`
	GoesOn bool             `json:"goes_on,omitempty"`
	Found  namespaces.Found `json:"found"`
	PID    int              `json:"pid,omitempty"`
	File   File             `json:"file,omitempty"`
}

// action is what a request asks for: a method of Host.
type action string

const (
	agree          action = "agree"
	find           action = "find"
	attach         action = "attach"
	there          action = "there"
	detach         action = "detach"
	take           action = "take"
	abandon        action = "abandon"
	cover          action = "cover"
	uncover        action = "uncover"
	restoreCover   action = "restore cover"
	refreshCover   action = "refresh cover"
	present        action = "present"
	watch          action = "watch"
	hold           action = "hold"
	queueSocket    action = "queue socket"
	netnsOf        action = "netns of"
	checkProcesses action = "check processes"
	open           action = "open"
)

// answer is what came of it. The descriptors come with it.
type answer struct {
	Error string             `json:"error,omitempty"`
	Errno syscall.Errno      `json:"errno,omitempty"`
	Gone  bool               `json:"gone,omitempty"` // the error is namespaces.ErrGone
	Site  fs.Site            `json:"site"`
	Yes   bool               `json:"yes,omitempty"`
	Found []namespaces.Found `json:"found,omitempty"`
	ID    namespaces.ID      `json:"id"`
}

// fail makes it the answer of an error.
func (a *answer) fail(err error) {
	if err == nil {
		return
	}
	a.Error, a.Gone = err.Error(), errors.Is(err, namespaces.ErrGone)
	errors.As(err, &a.Errno)
}

// err is the error that the helper had.
func (a *answer) err() error {
	if a.Error == "" {
		return nil
	}
	return &hostError{a}
}

// hostError is an error of the helper. It is what the helper's error is, as far as its
// errno or namespaces.ErrGone.
type hostError struct{ *answer }

func (e *hostError) Error() string { return e.answer.Error }

func (e *hostError) Unwrap() error {
	switch {
	case e.Gone:
		return namespaces.ErrGone
	case e.Errno != 0:
		return e.Errno
	}
	return nil
}

// watches is what a helper sends when it begins to watch, and for each change.
const watches = '\n'

const (
	// maxRequest is above the length of any request of ours.
	maxRequest = 64 << 10
	// maxFDs is how many descriptors come with a message at most.
	maxFDs = 4
)

// send sends a value, and descriptors with it, as all that this side says.
func send(c *net.UnixConn, value any, fds ...int) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(text, rights, nil)
	if err == nil && n < len(text) {
		_, err = c.Write(text[n:])
	}
	if err == nil {
		err = c.CloseWrite()
	}
	return err
}

// receive receives all that the other side says, up to a length. The descriptors are the
// caller's, after an error too.
func receive(c *net.UnixConn, value any, limit int) (fds []int, err error) {
	var text []byte
	part, rights := make([]byte, 32<<10), make([]byte, unix.CmsgSpace(4*maxFDs))
	for {
		n, nr, flags, _, err := c.ReadMsgUnix(part, rights)
		if err != nil && !errors.Is(err, io.EOF) {
			return fds, err // and both lengths are -1
		}
		got, bad := descriptors(rights[:nr])
		fds = append(fds, got...)
		text = append(text, part[:n]...)
		switch {
		case err != nil || n == 0:
			return fds, json.Unmarshal(text, value)
		case bad != nil:
			return fds, bad
		case flags&unix.MSG_CTRUNC != 0 || len(fds) > maxFDs:
			return fds, fmt.Errorf("more than %d descriptors came", maxFDs)
		case len(text) > limit:
			return fds, fmt.Errorf("more than %d bytes came", limit)
		}
	}
}

// descriptors are those that came with a message. Programs that this process starts do
// not get them.
func descriptors(rights []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	for i := range messages {
		some, bad := unix.ParseUnixRights(&messages[i])
		if bad != nil {
			err = errors.Join(err, bad)
		}
		for _, fd := range some {
			unix.CloseOnExec(fd)
		}
		fds = append(fds, some...)
	}
	return fds, err
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // it is ours
	}
}

// file is a descriptor as a file.
func file(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }
