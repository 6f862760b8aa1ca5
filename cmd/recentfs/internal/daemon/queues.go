package daemon

import (
	"errors"
	"fmt"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"recentfs/capture/nfqueue"
	"recentfs/match/ruleset"
)

// kept is what a queue that outlives the process notes of its packets.
var kept = nfqueue.Notes{Size: ruleset.NotesSize, Version: ruleset.NotesVersion}

// notesOf is the memory of a queue's notes, or nil if the queue ends with the process.
func notesOf(q *nfqueue.Queue) *ruleset.Notes {
	if b := q.Notes(); b != nil {
		return ruleset.NotesIn(b)
	}
	return nil
}

// openQueue binds a queue, or goes on with that of the process before. Server.mu is held.
func (i *instance) openQueue(n uint16) (*nfqueue.Queue, error) {
	q, err := i.openOrAdopt(n)
	if err == nil {
		i.checkBuffer(n, q)
	}
	return q, err
}

func (i *instance) openOrAdopt(n uint16) (*nfqueue.Queue, error) {
	socket, err := i.host.QueueSocket(i.found, i.held)
	if err != nil {
		return nil, fmt.Errorf("queue %d: %w", n, err)
	}
	if !i.outliving.kept {
		return socket.Open(n, i.options)
	}
	name := queueName(i.name, n)
	if fds := i.outliving.take(name); len(fds) > 0 {
		q, err := i.adopt(socket, n, fds)
		if err == nil {
			return q, nil
		}
		for _, fd := range fds {
			_ = unix.Close(fd) // it is ours
		}
		i.outliving.drop(name)
		logrus.Warn(i.explain(fmt.Errorf("%w: it begins anew, and the packets that waited are dropped", err)))
		if socket, err = i.host.QueueSocket(i.found, i.held); err != nil {
			return nil, fmt.Errorf("queue %d: %w", n, err)
		}
	}
	q, err := socket.OpenKept(n, i.options, kept)
	if err == nil {
		i.outliving.store(name, files(q))
	}
	return q, err
}

// adopt goes on with a queue of the process before. After an error the descriptors
// are the caller's.
func (i *instance) adopt(here nfqueue.Socket, n uint16, fds []int) (*nfqueue.Queue, error) {
	if len(fds) != 2 {
		here.Close()
		return nil, fmt.Errorf("queue %d: %d descriptors were held, not its socket and its memory", n, len(fds))
	}
	socket, memory := fds[0], fds[1]
	var stat unix.Stat_t
	if err := unix.Fstat(socket, &stat); err == nil && stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		socket, memory = memory, socket
	}
	q, left, err := here.Adopt(n, i.options, socket, memory, kept)
	if err != nil {
		return nil, err
	}
	if left.Unusable != nil {
		logrus.Warn(i.explain(fmt.Errorf("queue %d: %w: the packets that waited come again", n, left.Unusable)))
		i.outliving.store(queueName(i.name, n), files(q)) // with another memory
	} else {
		i.outliving.goOn(queueName(i.name, n), files(q))
	}
	return q, nil
}

// checkBuffer warns of a socket that got a smaller buffer than it was to have, once
// for all queues. Server.mu is held.
func (i *instance) checkBuffer(n uint16, q *nfqueue.Queue) {
	got, err := q.Buffer()
	switch wanted := i.options.Buffer; {
	case err != nil:
		logrus.Warn(i.explain(err))
	case got < wanted && !i.smallBuffer:
		i.smallBuffer = true
		logrus.Warn(i.explain(fmt.Errorf(
			"queue %d: the buffer of its socket is %v, not %v: that needs CAP_NET_ADMIN in the first user namespace, or sysctl -w net.core.rmem_max=%d; or set --queue-buffer lower",
			n, Size(got), Size(wanted), wanted)))
	}
}

func files(q *nfqueue.Queue) []int {
	socket, memory := q.Files()
	return []int{socket, memory}
}

// leaveQueues ends the loops of all queues and leaves the queues to the next process.
// Server.mu is held.
func (i *instance) leaveQueues() error {
	var errs []error
	for n, q := range i.queues {
		delete(i.queues, n)
		errs = append(errs, i.outliving.give(queueName(i.name, n), files(q.Queue)), q.Leave())
		<-q.done
	}
	return errors.Join(errs...)
}
