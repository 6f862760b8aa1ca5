package daemon

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sirupsen/logrus"
)

// losses are counters that should stand still. The packet path counts and logs
// nothing.
type losses struct {
	full        uint64 // packets dropped, because the queue was full
	lost        uint64 // packets dropped, because the socket was full
	passed      uint64 // packets accepted, because the socket was full
	malformed   uint64
	undecodable uint64
	unsent      uint64
	unrepeated  uint64
	unlogged    uint64
}

// logLosses says what was lost since it said so last. Server.mu is held.
func (i *instance) logLosses() {
	now := i.losses()
	for _, text := range now.since(i.lastCounters) {
		logrus.Warn(i.explain(errors.New(text)))
	}
	i.lastCounters = now
	if !i.options.Accept {
		return
	}
	if full := i.fullQueues(); len(full) > 0 {
		logrus.Warn(i.explain(fmt.Errorf("full now: %s: the kernel accepts what comes, before any rule sees it, and does not count it (--on-overload accept); let fewer packets into the queue, or raise --queue-length", queueRanges(full))))
	}
}

// since says which counters have grown.
func (l losses) since(before losses) (texts []string) {
	for _, c := range []struct {
		now, before uint64
		what        string
	}{
		{l.full, before.full, "packets were dropped before any rule saw them: the queue was full; let fewer packets into it, or raise --queue-length"},
		{l.lost, before.lost, "packets were dropped before any rule saw them: the buffer of the queue's socket was full; raise --queue-buffer"},
		{l.passed, before.passed, "packets were accepted before any rule saw them: the buffer of the queue's socket was full; raise --queue-buffer"},
		{l.malformed, before.malformed, "messages of the kernel were not understood"},
		{l.undecodable, before.undecodable, "packets had no header that could be decoded and got the chain's policy"},
		{l.unsent, before.unsent, "verdicts could not be sent"},
		{l.unrepeated, before.unrepeated, "packets met REPEAT with the mark that they came with, which would loop, and got the chain's policy: exclude the mark on the kernel's rule that queues"},
		{l.unlogged, before.unlogged, "packets of LOG rules were not logged: too many in too short a time"},
	} {
		// The counters of queues and rules that are gone are gone with them.
		if c.now > c.before {
			texts = append(texts, fmt.Sprintf("%d %s", c.now-c.before, c.what))
		}
	}
	return texts
}

// losses adds up the counters of all queues. Server.mu is held.
func (i *instance) losses() (l losses) {
	for _, q := range i.queues {
		stats := q.Stats()
		l.full += uint64(stats.Full)
		l.lost += uint64(stats.Lost)
		l.passed += uint64(stats.Passed)
		l.malformed += stats.Malformed
		l.undecodable += stats.Undecodable
		l.unsent += stats.Unsent
	}
	if i.set != nil {
		l.unrepeated = i.set.Unrepeated()
		l.unlogged = i.set.LogsDropped()
	}
	return l
}

// fullQueues are the queues in which as many packets wait as may. Server.mu is held.
func (i *instance) fullQueues() (full []uint16) {
	for n, q := range i.queues {
		if q.Stats().Waiting >= i.options.Length {
			full = append(full, n)
		}
	}
	slices.Sort(full)
	return full
}
