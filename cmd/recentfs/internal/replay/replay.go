// Package replay puts the packets of a capture file through rules and prints what
// became of them. It needs no root and touches nothing.
package replay

import (
	"errors"
	"fmt"
	"io"
	"time"

	"recentfs/capture"
	"recentfs/capture/pcap"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

// Replay is rules at work on tables of their own.
type Replay struct {
	queue    uint16
	clock    *jiffies.Manual
	registry *recent.Registry
	rules    *ruleset.Set
	packets  int
	verdicts map[string]int
	last     time.Time // of the last packet
}

// hz is the HZ of a capture file's clock: a jiffy is a millisecond since 1970, so
// that the same file gives the same stamps on every machine.
const hz = 1000

// New puts rules to work. The packets go to the chain of a queue, or of the
// lowest queue that has one if queue is nil.
func New(rules *ruleset.File, p recent.Params, queue *uint16) (*Replay, error) {
	queues := rules.Queues()
	if len(queues) == 0 {
		return nil, errors.New("the rules have no chain for a queue: add one, as :QUEUE0 ACCEPT [0:0]")
	}
	r := &Replay{queue: queues[0], clock: jiffies.NewManual(0, hz), verdicts: make(map[string]int)}
	if queue != nil {
		r.queue = *queue
	}
	module, err := recent.NewModule(p, r.clock)
	if err != nil {
		return nil, err
	}
	r.registry = module.NewRegistry(nil)
	if r.rules, err = rules.Load(r.registry); err != nil {
		return nil, err
	}
	if r.rules.Queue(r.queue) == nil {
		r.rules.Close()
		return nil, fmt.Errorf("the rules have no chain for queue %d: name one that they have by --queue", r.queue)
	}
	return r, nil
}

// Run replays a capture file and prints the outcome. What a file that breaks off
// has shown by then is worth printing too.
func (r *Replay) Run(file string, asJSON bool, w io.Writer) error {
	defer r.rules.Close()
	failed := r.read(file)
	if r.packets == 0 && failed != nil {
		return failed
	}
	if asJSON {
		return errors.Join(r.printJSON(w), failed)
	}
	return errors.Join(r.print(w), failed)
}

// read puts all packets of a capture file through the rules.
func (r *Replay) read(file string) error {
	source, err := pcap.Open(file)
	if err != nil {
		return err
	}
	defer source.Close()
	return source.Run(r.decide)
}

// decide puts packets through the chain of their queue, and of each further
// queue that a rule hands them to. No queue hands a packet back: ruleset.Parse
// refuses such rules.
func (r *Replay) decide(batch []capture.Packet) {
	for i := range batch {
		p := &batch[i]
		r.packets++
		r.last = p.Time
		r.clock.Set(jiffies.Jiffies(p.Time.UnixMilli()))
		for n, handed := r.queue, true; handed; n, handed = p.Verdict.Queue() {
			q := r.rules.Queue(n)
			if q == nil {
				break // another program's
			}
			q.Decide(batch[i:i+1], r.clock.Now())
		}
		r.verdicts[verdictName(p.Verdict)]++
	}
}

func verdictName(v capture.Verdict) string {
	switch v {
	case capture.Accept:
		return "accept"
	case capture.Drop:
		return "drop"
	case capture.Repeat:
		return "repeat"
	}
	n, _ := v.Queue()
	return fmt.Sprintf("queue %d", n)
}
