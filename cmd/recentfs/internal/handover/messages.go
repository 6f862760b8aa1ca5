package handover

import (
	"errors"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// listen makes the socket for the worker's messages. It has no name that others could
// guess, and messages of others are ignored.
func (k *keeper) listen() (err error) {
	if k.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"}); err != nil {
		return err
	}
	raw, err := k.socket.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); err != nil {
		return err
	}
	return set
}

// serve takes the worker's messages until the socket is closed.
func (k *keeper) serve() {
	text, control := make([]byte, recordSize), make([]byte, unix.CmsgSpace(4*maxFDs)+unix.CmsgSpace(unix.SizeofUcred))
	for {
		n, nc, _, _, err := k.socket.ReadMsgUnix(text, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			k.message(string(text[:n]), control[:nc])
		}
	}
}

// message does what a message asks for, if it is the worker's.
func (k *keeper) message(text string, control []byte) {
	from := sender(control)
	if from == os.Getpid() {
		k.drained <- struct{}{}
		return
	}
	fds, err := descriptors(control)
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		fields[key] = value
	}
	name := fields["FDNAME"]
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.last
	if err != nil || w == nil || from != w.pid {
		closeAll(fds)
		return
	}
	switch {
	case fields["FDSTORE"] == "1" && name != "":
		k.store[name] = append(k.store[name], fds...)
		return
	case fields["FDSTOREREMOVE"] == "1":
		closeAll(append(k.store.Take(name), fds...))
		return
	case fields[watchdogSays] != "": // outer hears of us
		closeAll(fds)
		switch fields[watchdogSays] {
		case "1":
			select {
			case w.works <- struct{}{}:
			default: // nobody has heard the last time yet
			}
		case "trigger":
			select {
			case w.hangs <- fields["STATUS"]:
			default: // it has said so already
			}
		}
		return
	case fields["READY"] == "1" && !isClosed(w.ready):
		close(w.ready)
	}
	closeAll(fds)
	if k.outer != nil {
		_ = k.outer.send(text) // whoever started us need not listen
	}
}

// sender is the process that sent a message, if it is root's or of our own user: the
// number of a worker that has ended may be another's.
func sender(control []byte) int {
	messages, _ := unix.ParseSocketControlMessage(control)
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid()) {
			return int(cred.Pid)
		}
	}
	return -1
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // it is ours
	}
}
