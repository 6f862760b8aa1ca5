package daemon

import (
	"errors"
	"fmt"

	"github.com/sirupsen/logrus"
)

// losses are counters that should stand still. The packet path counts and logs
// nothing.
type losses struct {
	overrun     uint64 // the queue or its socket was full
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
}

// since says which counters have grown.
func (l losses) since(before losses) (texts []string) {
	for _, c := range []struct {
		now, before uint64
		what        string
	}{
		{l.overrun, before.overrun, "packets were dropped before any rule saw them: the queue was full; let fewer packets into it"},
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
		l.overrun += uint64(stats.Full) + uint64(stats.Lost)
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
