package daemon

import (
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

// logLosses says which counters have grown since it said so last. Server.mu is
// held.
func (i *instance) logLosses() {
	now, before := i.losses(), i.lastCounters
	for _, c := range []struct {
		now, before uint64
		what        string
	}{
		{now.overrun, before.overrun, "packets were dropped before any rule saw them: the queue was full; let fewer packets into it"},
		{now.malformed, before.malformed, "messages of the kernel were not understood"},
		{now.undecodable, before.undecodable, "packets had no header that could be decoded and got the chain's policy"},
		{now.unsent, before.unsent, "verdicts could not be sent"},
		{now.unrepeated, before.unrepeated, "packets met REPEAT with the mark that they came with, which would loop, and got the chain's policy: exclude the mark on the kernel's rule that queues"},
		{now.unlogged, before.unlogged, "packets of LOG rules were not logged: too many in too short a time"},
	} {
		// The counters of queues and rules that are gone are gone with them.
		if c.now > c.before {
			logrus.Warn(i.explain(fmt.Errorf("%d %s", c.now-c.before, c.what)))
		}
	}
	i.lastCounters = now
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
