package nfqueue

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notes are the memory that outlives the process with a queue: for those who decide
// its packets, to note how far they are.
type Notes struct {
	Size    int    // in bytes
	Version uint32 // of what is noted. Nobody reads notes of another version
}

// memory is the start of the file that outlives the process with a queue. The notes
// follow, from a page on. Zeroes mean that nothing was received.
type memory struct {
	magic   [8]byte
	version uint32
	notes   uint32 // the version of the notes
	// passing is 1 while messages may come of packets that were sent through the hook
	// again: those up to passed. Such a packet comes with another ID.
	passing, passed uint32
	_               [40]byte
	inbox
}

const (
	magic   = "recentfq"
	version = 1
	notesAt = (unsafe.Sizeof(memory{}) + 4095) &^ 4095
	seals   = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW // no access can end in SIGBUS
)

// kept is that file, mapped.
type kept struct {
	*memory
	fd    int
	bytes []byte
}

// makeKept makes the file. Pages that nobody wrote to cost nothing.
func makeKept(notes Notes) (_ *kept, err error) {
	fd, err := unix.MemfdCreate("recentfs-queue", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	k, err := mapKept(fd, notes, func() error {
		if err := unix.Ftruncate(fd, int64(notes.end())); err != nil {
			return err
		}
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		return err
	})
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("memory of the queue: %w", err)
	}
	k.magic, k.version, k.memory.notes = [8]byte([]byte(magic)), version, notes.Version
	k.prepare()
	return k, nil
}

// findKept maps the file that a process before has left. The error says why it is of
// no use.
func findKept(fd int, notes Notes) (*kept, error) {
	k, err := mapKept(fd, notes, func() error {
		sealed, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		var stat unix.Stat_t
		if err == nil {
			err = unix.Fstat(fd, &stat)
		}
		switch {
		case err != nil:
			return err
		case sealed&seals != seals:
			return errors.New("its size may change")
		case stat.Size != int64(notes.end()):
			return fmt.Errorf("it has %d bytes, not %d", stat.Size, notes.end())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	switch {
	case string(k.magic[:]) != magic:
		err = fmt.Errorf("it begins with %q", k.magic[:])
	case k.version != version:
		err = fmt.Errorf("its version is %d: this program knows version %d", k.version, version)
	case k.memory.notes != notes.Version:
		err = fmt.Errorf("the version of its notes is %d: this program knows version %d", k.memory.notes, notes.Version)
	}
	if err != nil {
		_ = unix.Munmap(k.bytes)
		return nil, err
	}
	unix.CloseOnExec(fd)
	k.prepare()
	return k, nil
}

// mapKept maps the file when check finds it good.
func mapKept(fd int, notes Notes, check func() error) (*kept, error) {
	if err := check(); err != nil {
		return nil, err
	}
	bytes, err := unix.Mmap(fd, 0, notes.end(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	return &kept{(*memory)(unsafe.Pointer(&bytes[0])), fd, bytes}, nil
}

// end is the size of the file.
func (n Notes) end() int { return int(notesAt) + n.Size }

// release gives back what this process has of it. There is nothing that could fail:
// the mapping and the descriptor are ours.
func (k *kept) release() {
	_ = unix.Munmap(k.bytes)
	_ = unix.Close(k.fd)
}

// OpenKept is Open for a queue that outlives the process, if somebody else has Files
// then.
func (s Socket) OpenKept(number uint16, options Options, notes Notes) (*Queue, error) {
	k, err := makeKept(notes)
	if err != nil {
		s.Close()
		return nil, explain(number, err)
	}
	q, err := s.Open(number, options)
	if err != nil {
		k.release()
		return nil, err
	}
	q.kept = k
	return q, nil
}

// Files are the descriptors that another process needs to Adopt the queue: its socket,
// and its memory. They are the queue's, and closed with it.
func (q *Queue) Files() (socket, memory int) { return q.fd, q.kept.fd }

// Notes is the memory for who decides. It stays until the queue is closed. Without
// OpenKept and Adopt it is nil.
func (q *Queue) Notes() []byte {
	if q.kept == nil {
		return nil
	}
	return q.kept.bytes[notesAt:]
}

// Leave ends Run after a batch, and gives back this process's descriptors. The queue
// stays bound while another process has Files: the packets wait. If nobody has, it ends
// as by Close. Leave waits until Run returns, so decide must not call it.
func (q *Queue) Leave() error { return q.end(cmdPFBind) } // which does nothing
