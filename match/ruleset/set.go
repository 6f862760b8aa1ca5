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

// Set is a file's rules at work: they hold on to their tables, and count.
type Set struct {
	file   *File
	reg    *recent.Registry
	rules  []rule // all chains, one behind the other; see flatten
	start  []int  // of each chain of file, its first rule in rules
	queues map[uint16]*Queue
	taken  []*recent.Rule // to be given back
	once   sync.Once      // for Close

	logs        chan LogRecord // nil where no rule logs
	logsDropped atomic.Uint64
}

// Load puts the rules to work. Each -m recent takes a reference on its table,
// in the order in which iptables hands rules to the kernel: by chain as Save
// prints them. It fails, and has then changed nothing, if there is no memory for
// a table.
func (f *File) Load(reg *recent.Registry) (*Set, error) {
	s := &Set{file: f, reg: reg, queues: make(map[uint16]*Queue)}
	if err := s.flatten(); err != nil {
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
// one behind the other, each with a rule at its end that any packet meets,
// which is the policy of a built-in chain and RETURN in the others.
func (s *Set) flatten() error {
	for i := range s.file.chains {
		c := &s.file.chains[i]
		s.start = append(s.start, len(s.rules))
		s.rules = append(s.rules, c.rules...)
		s.rules = append(s.rules, rule{target: target{kind: c.policy}})
	}
	var infos []recent.Info
	var lines []int // of infos, in the file
	var waiting []*recentMatch
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
				own := &recentMatch{info: m.info}
				r.matches[j].matcher = own
				infos, lines, waiting = append(infos, m.info), append(lines, r.line), append(waiting, own)
			}
		}
	}
	var err error
	if s.taken, err = s.reg.CheckAll(infos); err != nil {
		var failed *recent.CheckError
		if errors.As(err, &failed) {
			return s.file.at(lines[failed.Rule], fmt.Errorf("-m recent: %w", err))
		}
		return err
	}
	for i, m := range waiting {
		m.rule = s.taken[i]
	}
	return nil
}

// Close gives all references on tables back; the first call does. A queue that
// still decides then finds its tables empty.
func (s *Set) Close() {
	s.once.Do(func() {
		for _, r := range s.taken {
			s.reg.Destroy(r)
		}
	})
}

// Queue is the way through the rules of an NFQUEUE number, or nil if there is
// no chain for it. It is always the same one.
func (s *Set) Queue(number uint16) *Queue { return s.queues[number] }

// Save prints the rules as iptables-save does, with counters like
// iptables-save -c: packets and bytes, summed over the queues. The policies'
// counters are always there. It may be called at any time.
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

// Undecodable is the number of packets that got their chain's policy because
// their headers could not be decoded.
func (s *Set) Undecodable() (n uint64) {
	for _, q := range s.queues {
		n += q.undecodable.Load()
	}
	return n
}

// Unrepeated is the number of packets that got their chain's policy in place
// of REPEAT because no rule had changed their mark.
func (s *Set) Unrepeated() (n uint64) {
	for _, q := range s.queues {
		n += q.unrepeated.Load()
	}
	return n
}
