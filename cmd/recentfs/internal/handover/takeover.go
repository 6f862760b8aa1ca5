package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process asks for a takeover over a socket of records. The answer is a record for
// each name, with its descriptors, and a last one. Everything else is an error's text.
const (
	question   = "recentfs takeover 1"
	namePrefix = "descriptors "
	lastRecord = "end"
	// askTime is how long a process that has connected may take to ask.
	askTime    = time.Second
	recordSize = 4096
	// maxFDs is how many descriptors one record may have (SCM_MAX_FD).
	maxFDs = 253
)

// Socket is where the next process asks this one to give way.
type Socket struct{ listener *net.UnixListener }

// Listen makes the socket, for this user alone. The caller knows that no other process
// listens there.
func Listen(path string) (*Socket, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("takeover socket: %w", err)
	}
	old := syscall.Umask(0o177) // the socket's mode is 0600 from the start
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("takeover socket: %w", err)
	}
	return &Socket{l}, nil
}

// Close removes the socket and ends Accept.
func (s *Socket) Close() error { return s.listener.Close() }

// Successor is a process that waits for this one to give way.
type Successor struct{ conn *net.UnixConn }

// Accept waits for a process that may ask and does. Its error is that of a socket that
// was closed.
func (s *Socket) Accept() (*Successor, error) {
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if asks(conn) {
			return &Successor{conn}, nil
		}
		_ = conn.Close() // it did not ask, so it waits for nothing
	}
}

// asks tells whether the other side of a connection may take over, and asks for it.
// The answer to another one says why not.
func asks(conn *net.UnixConn) bool {
	_ = conn.SetDeadline(time.Now().Add(askTime)) // fails on a closed one only
	b := make([]byte, recordSize)
	n, err := conn.Read(b)
	refusal := ""
	switch uid, peerErr := peer(conn); {
	case err != nil:
		return false
	case peerErr != nil:
		refusal = peerErr.Error()
	case uid != 0 && uid != uint32(os.Geteuid()):
		refusal = fmt.Sprintf("user %d may not take over: run as root", uid)
	case string(b[:n]) != question:
		refusal = fmt.Sprintf("this recentfs knows %q only: stop it, and start the other", question)
	}
	if refusal != "" {
		_, _ = conn.Write([]byte(refusal)) // whoever asked may be gone
		return false
	}
	_ = conn.SetDeadline(time.Time{})
	return true
}

// peer is the user of the process that connected.
func peer(conn *net.UnixConn) (uid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var got error
	if err := raw.Control(func(fd uintptr) { cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if got != nil {
		return 0, fmt.Errorf("SO_PEERCRED: %w", got)
	}
	return cred.Uid, nil
}

// Give gives the descriptors to the successor, as the last thing that this process
// does. They stay open here.
func (s *Successor) Give(held Held) error {
	for name, fds := range held {
		if len(fds) > maxFDs {
			return fmt.Errorf("takeover: %s has %d descriptors", name, len(fds))
		}
		if _, _, err := s.conn.WriteMsgUnix([]byte(namePrefix+name), unix.UnixRights(fds...), nil); err != nil {
			return fmt.Errorf("takeover: %w", err)
		}
	}
	if _, err := s.conn.Write([]byte(lastRecord)); err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	return nil
}

// Close ends the connection. If nothing was given, the successor is told why.
func (s *Successor) Close() { _ = s.conn.Close() }

// Take asks the process that listens at path to give way, and waits until it has.
func Take(path string) (Held, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("--takeover: %w: is a 'recentfs run --state' running, with the same --control?", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(question)); err != nil {
		return nil, fmt.Errorf("--takeover: %s: %w", path, err)
	}
	held := make(Held)
	text, rights := make([]byte, recordSize), make([]byte, unix.CmsgSpace(4*maxFDs))
	for {
		record, err := receive(conn, text, rights, held)
		switch {
		case err != nil:
			held.Close()
			return nil, fmt.Errorf("--takeover: %s: %w", path, err)
		case record == lastRecord:
			return held, nil
		case !strings.HasPrefix(record, namePrefix):
			held.Close()
			return nil, fmt.Errorf("--takeover: %s: %s", path, record)
		}
	}
}

// receive receives a record, and adds its descriptors.
func receive(conn *net.UnixConn, text, rights []byte, held Held) (record string, err error) {
	n, nr, _, _, err := conn.ReadMsgUnix(text, rights)
	if err == nil && n == 0 || errors.Is(err, io.EOF) {
		return "", errors.New("the other process ended before it had given everything")
	}
	if err != nil {
		return "", err
	}
	record = string(text[:n])
	fds, err := descriptors(rights[:nr])
	for _, fd := range fds {
		held.add(strings.TrimPrefix(record, namePrefix), fd)
	}
	return record, err
}

// descriptors are those that came with a message. They are not for programs that this
// process starts.
func descriptors(rights []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		some, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, some...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds, nil
}
