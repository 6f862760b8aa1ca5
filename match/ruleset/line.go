package ruleset

import (
	"errors"
	"fmt"
	"slices"
)

// maxExpanded bounds the rules that one line with lists of addresses makes.
const maxExpanded = 4096

// line is a line of the table while it is read: struct
// iptables_command_state.
type line struct {
	*reader
	words  []string
	next   int // index into words
	loaded []loaded
	given  map[*option]bool

	command  byte // 'A', 'I', 'N' or 'P'
	chain    string
	position int  // -I: the rule's number
	counted  bool // -c was given
	policy   string
	rule     rule
	why      string // what made the rule one of its family
	src, dst []network
	target   extension // nil: none, or one without options
	// implied says that the match of the -p was loaded without a -m.
	implied bool
}

// carryOut does what the line says.
func (l *line) carryOut() error {
	switch l.command {
	case 'A', 'I':
		return l.addRules()
	case 'N':
		return l.newChain()
	case 'P':
		return l.setPolicy()
	}
	return errors.New("nothing to do: a rule begins with -A and its chain")
}

func (l *line) newChain() error {
	if !l.bare() {
		return errors.New("-N stands alone: put the rule on a line of its own")
	}
	if _, _, builtin, err := parseBuiltin(l.chain); builtin || err != nil {
		return fmt.Errorf("-N %s: built-in chains are declared as :QUEUE0 ACCEPT [0:0]", l.chain)
	}
	return l.declare(l.chain, "-")
}

func (l *line) setPolicy() error {
	if !l.bare() {
		return errors.New("-P stands alone: put the rule on a line of its own")
	}
	i, err := l.lookup(l.chain)
	if err != nil {
		return err
	}
	c := &l.file.chains[i]
	if !c.builtin {
		return fmt.Errorf("-P %s: only QUEUE chains have a policy", l.chain)
	}
	c.policy, err = parsePolicy(l.chain, l.policy)
	return err
}

// bare reports whether the line has its command alone. -c may stand with -P.
func (l *line) bare() bool {
	n := len(l.given)
	if l.command == 'P' && l.counted {
		n--
	}
	return n == 1
}

// addRules adds the rule to its chain, once for each pair of source and
// destination addresses: append_entry and insert_entry. The latter puts each pair
// before the one that came before it.
func (l *line) addRules() error {
	i, err := l.lookup(l.chain)
	if err != nil {
		return err
	}
	if err := l.checkRule(); err != nil {
		return err
	}
	if len(l.src)*len(l.dst) > maxExpanded {
		return fmt.Errorf("%d source and %d destination addresses make too many rules: use a chain for the sources and one for the destinations", len(l.src), len(l.dst))
	}
	c := &l.file.chains[i]
	at, step := len(c.rules), 1
	if l.command == 'I' {
		// A rule that has an error is not counted: it is no error to insert after it.
		if l.position > at+1 && len(l.all) == 0 {
			return fmt.Errorf("-I %s %d: the largest number is %d here, one more than the chain has rules by now", l.chain, l.position, at+1)
		}
		at, step = min(l.position-1, at), 0
	}
	for _, src := range l.src {
		for _, dst := range l.dst {
			r := l.rule
			r.src, r.dst = src, dst
			r.test(testSource, src != network{})
			r.test(testDest, dst != network{})
			c.rules = slices.Insert(c.rules, at, r)
			at += step
		}
	}
	return nil
}

// test adds a condition to the rule. One that any packet meets is left out,
// unless it is inverted.
func (r *rule) test(t tests, narrow bool) {
	if narrow || r.inverted&t != 0 {
		r.asked |= t
	}
}

// checkRule makes sure that the parts of the rule go together.
func (l *line) checkRule() error {
	for _, m := range l.rule.matches {
		if p := m.protocol; p != 0 && (l.rule.protocol != p || l.rule.inverted&testProtocol != 0) {
			return fmt.Errorf("-m %s needs -p %s in the rule", m.name, protocolName(p))
		}
		if m.family != 0 {
			if err := l.only(m.family, "-m "+m.name); err != nil {
				return err
			}
		}
		if err := m.check(l); err != nil {
			return err
		}
	}
	if l.rule.family == 0 && l.rule.inverted&testProtocol == 0 {
		l.rule.family = protocolFamily(l.rule.protocol)
	}
	if l.target != nil {
		if err := l.target.check(l); err != nil {
			return err
		}
	}
	if many := len(l.src) > 1 || len(l.dst) > 1; many && l.rule.inverted&(testSource|testDest) != 0 {
		return errors.New("! takes one source and one destination address: jump to a chain with a RETURN rule for each of them")
	}
	if l.src == nil {
		l.src = []network{{}}
	}
	if l.dst == nil {
		l.dst = []network{{}}
	}
	return nil
}

// only makes the rule one for a single family. Errors say why it is.
func (l *line) only(family uint8, why string) error {
	if l.rule.family != 0 && l.rule.family != family {
		return fmt.Errorf("%s and %s belong to different families: write a rule for each", l.why, why)
	}
	l.rule.family, l.why = family, why
	return nil
}

// loadMatch adds a match to the rule: command_match.
func (l *line) loadMatch(e *matchExtension) {
	m := e.make()
	l.rule.matches = append(l.rule.matches, match{m, e, 1})
	for i := range l.loaded {
		if l.loaded[i].match == e {
			l.loaded[i].options = m.options()
			return
		}
	}
	l.loaded = append(l.loaded, loaded{e, m.options()})
}

// loadTarget makes a target the rule's: command_jump.
func (l *line) loadTarget(e *targetExtension) error {
	if err := l.setTarget(e.kind); err != nil {
		return err
	}
	if e.options != nil {
		l.target = e.options(&l.rule.target)
		l.loaded = append(l.loaded, loaded{nil, l.target.options()})
	}
	return nil
}

// loadProtocol adds the match of the rule's -p, whose options may be given
// without its -m: load_proto.
func (l *line) loadProtocol() bool {
	if l.implied || l.rule.protocol == 0 {
		return false
	}
	for i := range matches {
		if matches[i].protocol == l.rule.protocol {
			l.loadMatch(&matches[i])
			l.implied = true
			return true
		}
	}
	return false
}
