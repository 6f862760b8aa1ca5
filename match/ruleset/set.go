package ruleset

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"recentfs/match/recent"
)

// Set is the rules of a file at work. It has references on their tables, and
// counts packets.
type Set struct {
	file   *File
	reg    *recent.Registry
	rules  []rule // of all chains, one after the other; see flatten
	start  []int  // the first rule of each chain of file, as an index into rules
	queues map[uint16]*Queue
	taken  []*recent.Rule // the references; Close gives them back
	once   sync.Once      // for Close
	// fingerprint tells the rules from others. It is of their text, which names all
	// that they do.
	fingerprint uint64

	logs        chan LogRecord // nil where no rule logs
	logsDropped atomic.Uint64
}

// Load puts the rules to work. Each -m recent takes a reference on its table,
// in the order in which iptables hands rules to the kernel, which is that of
// Save. Load fails only if there is no memory for a table, and then changes
// nothing.
func (f *File) Load(reg *recent.Registry) (*Set, error) { return f.load(reg, reg.CheckAll) }

// LoadFor is Load for a reload with other parameters. They are those that the file
// was parsed with.
func (f *File) LoadFor(reload *recent.Reload, reg *recent.Registry) (*Set, error) {
	return f.load(reg, func(infos []recent.Info) ([]*recent.Rule, error) { return reload.CheckAll(reg, infos) })
}

func (f *File) load(reg *recent.Registry, checkAll func([]recent.Info) ([]*recent.Rule, error)) (*Set, error) {
	s := &Set{file: f, reg: reg, queues: make(map[uint16]*Queue), fingerprint: f.fingerprint()}
	if err := s.flatten(checkAll); err != nil {
		return nil, err
	}
	for i := range f.chains {
		c := &f.chains[i]
		for n := int(c.first); c.builtin && n <= int(c.last); n++ {
			s.queues[uint16(n)] = &Queue{
				set:      s,
				number:   uint16(n),
				start:    s.start[i],
				policy:   s.start[i] + len(c.rules),
				stack:    make([]int, f.depth),
				counters: make([]counter, len(s.rules)),
			}
		}
	}
	return s, nil
}

// flatten lays the chains out as the kernel's table does (translate_table):
// one after the other, each with a last rule that any packet meets. That rule is
// the policy of a built-in chain, and RETURN in the others.
func (s *Set) flatten(checkAll func([]recent.Info) ([]*recent.Rule, error)) error {
	for i := range s.file.chains {
		c := &s.file.chains[i]
		s.start = append(s.start, len(s.rules))
		s.rules = append(s.rules, c.rules...)
		s.rules = append(s.rules, rule{target: target{kind: c.policy}})
	}
	var infos []recent.Info
	var lines []int // of the file, one for each of infos
	var waiting []*match
	for i := range s.rules {
		r := &s.rules[i]
		if r.calls() {
			r.to = s.start[r.to]
		}
		if r.kind == targetLog {
			r.log = r.log.start(s.reg.Clock())
			if s.logs == nil {
				s.logs = make(chan LogRecord, logBuffer)
			}
		}
		r.matches = slices.Clone(r.matches)
		for j := range r.matches {
			if m, ok := r.matches[j].matcher.(*recentMatch); ok {
				infos, lines, waiting = append(infos, m.info), append(lines, r.line), append(waiting, &r.matches[j])
			}
		}
	}
	var err error
	if s.taken, err = checkAll(infos); err != nil {
		var failed *recent.CheckError
		if errors.As(err, &failed) {
			return s.file.at(lines[failed.Rule], fmt.Errorf("-m recent: %w", err))
		}
		return err
	}
	for i, m := range waiting {
		own := &recentMatch{rule: s.taken[i], info: infos[i]}
		m.matcher, m.visits = own, own.visits(own.rule.Ring())
	}
	return nil
}

// Close gives back all references on tables. Later calls do nothing. A queue
// that still decides finds its tables empty from then on.
func (s *Set) Close() {
	s.once.Do(func() {
		for _, r := range s.taken {
			s.reg.Destroy(r)
		}
	})
}

// Queue decides the packets of an NFQUEUE number. It is nil if no chain has the
// number. Each call returns the same Queue.
func (s *Set) Queue(number uint16) *Queue { return s.queues[number] }

// Save prints the rules as iptables-save does, or with counters as
// iptables-save -c does: packets and bytes of all queues together. Policies are
// always printed with counters. Save may be called at any time.
func (s *Set) Save(w io.Writer, counters bool) error {
	_, err := w.Write(s.file.save(s.count, counters))
	return err
}

func (s *Set) count(chain, rule int) (packets, bytes uint64) {
	for _, q := range s.queues {
		c := &q.counters[s.start[chain]+rule]
		packets += c.packets.Load()
		bytes += c.bytes.Load()
	}
	return packets, bytes
}

// Unrepeated is the number of packets that got their chain's policy in place
// of REPEAT because no rule had changed their mark.
func (s *Set) Unrepeated() (n uint64) {
	for _, q := range s.queues {
		n += q.unrepeated.Load()
	}
	return n
}
