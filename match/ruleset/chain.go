package ruleset

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const (
	maxChainName = 28   // XT_EXTENSION_MAXNAMELEN, less its final NUL
	maxQueues    = 1024 // in one file; each queue has counters of its own
)

// chain is a chain of rules in the order in which packets meet them.
type chain struct {
	name        string
	builtin     bool
	first, last uint16 // of a built-in chain: its queues' numbers
	policy      targetKind
	rules       []rule
}

// declare makes a chain, and keeps quiet about later uses of one that it cannot
// make. The policy of a chain that is not built in is "-".
func (r *reader) declare(name, policy string) error {
	err := r.makeChain(name, policy)
	if err != nil {
		r.silence(chainKey(name))
	}
	return err
}

func (r *reader) makeChain(name, policy string) error {
	c := chain{name: name, policy: targetReturn}
	var err error
	if c.first, c.last, c.builtin, err = parseBuiltin(name); err != nil {
		return err
	}
	switch {
	case c.builtin:
		if c.policy, err = parsePolicy(name, policy); err != nil {
			return err
		}
		if err := r.checkQueues(&c); err != nil {
			return err
		}
	case policy != "-":
		if err := takenForBuiltin(name); err != nil {
			return err
		}
		return fmt.Errorf("chain %s: only QUEUE chains have a policy, declare it as :%s - [0:0]", name, name)
	default:
		if err := checkChainName(name); err != nil {
			return err
		}
	}
	if i, twice := r.byName[name]; twice {
		if c.builtin {
			r.file.chains[i].policy = c.policy // the last one counts, as in iptables-restore
			return nil
		}
		return fmt.Errorf("chain %s is declared twice: leave one out", name)
	}
	r.byName[name] = len(r.file.chains)
	r.file.chains = append(r.file.chains, c)
	return nil
}

// checkQueues refuses queues that have another chain already.
func (r *reader) checkQueues(c *chain) error {
	total := int(c.last) - int(c.first) + 1
	for i := range r.file.chains {
		o := &r.file.chains[i]
		if !o.builtin || o.name == c.name {
			continue
		}
		if o.first <= c.last && c.first <= o.last {
			return fmt.Errorf("chains %s and %s have queues in common: give each queue one chain", o.name, c.name)
		}
		total += int(o.last) - int(o.first) + 1
	}
	if total > maxQueues {
		return fmt.Errorf("chain %s: a file has %d queues at most", c.name, maxQueues)
	}
	return nil
}

// parseBuiltin reads QUEUE7 or QUEUE0-3. It is not ok for a name of another
// form, which a user's chain may have.
func parseBuiltin(name string) (first, last uint16, ok bool, err error) {
	rest, ok := strings.CutPrefix(name, "QUEUE")
	if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return 0, 0, false, nil
	}
	low, high, isRange := strings.Cut(rest, "-")
	first, ok = queueNumber(low)
	last = first
	if isRange && ok {
		last, ok = queueNumber(high)
		ok = ok && first < last
	}
	if !ok {
		return 0, 0, false, fmt.Errorf("chain %s: built-in chains are QUEUE0 to QUEUE65535, or a range such as QUEUE0-3", name)
	}
	return first, last, true, nil
}

// queueNumber reads a decimal number that has no sign and no leading zero.
func queueNumber(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && s == strconv.FormatUint(n, 10)
}

func parsePolicy(name, policy string) (targetKind, error) {
	switch policy {
	case "ACCEPT":
		return targetAccept, nil
	case "DROP":
		return targetDrop, nil
	}
	return 0, fmt.Errorf("policy %q of chain %s: use ACCEPT or DROP", policy, name)
}

// checkChainName refuses the names that a user's chain cannot have:
// assert_valid_chain_name.
func checkChainName(name string) error {
	switch {
	case len(name) > maxChainName:
		return fmt.Errorf("chain name %.32q is too long: a name may have %d characters", name, maxChainName)
	case name == "" || name[0] == '-' || name[0] == '!':
		return fmt.Errorf("chain name %q: an empty name, or one with - or ! at its beginning, is not allowed", name)
	case name == "QUEUE":
		return takenForBuiltin(name)
	case findTarget(name) != nil:
		return fmt.Errorf("chain name %s is the name of a target: choose another", name)
	case strings.ContainsRune(name, '"') || strings.IndexFunc(name, unicode.IsSpace) >= 0:
		return fmt.Errorf("chain name %q: a name may not have spaces or quotes", name)
	}
	return nil
}

// lookup finds a declared chain.
func (r *reader) lookup(name string) (index int, err error) {
	index, ok := r.byName[name]
	if !ok {
		if err := takenForBuiltin(name); err != nil {
			return 0, once{chainKey(name), err}
		}
		how := "-"
		if _, _, builtin, _ := parseBuiltin(name); builtin {
			how = "ACCEPT"
		}
		return 0, once{chainKey(name), fmt.Errorf("chain %s is not declared: put :%s %s [0:0] above", name, name, how)}
	}
	return index, nil
}

// sort puts the chains in the order of iptables: the built-in ones by number,
// then the others by name (iptc_insert_chain).
func (f *File) sort() {
	order := make([]int, len(f.chains))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := &f.chains[i], &f.chains[j]
		switch {
		case a.builtin && b.builtin:
			return cmp.Compare(a.first, b.first)
		case a.builtin:
			return -1
		case b.builtin:
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	place := make([]int, len(order))
	sorted := make([]chain, len(order))
	for to, from := range order {
		place[from], sorted[to] = to, f.chains[from]
	}
	for i := range sorted {
		for j := range sorted[i].rules {
			if r := &sorted[i].rules[j]; r.calls() {
				r.to = place[r.to]
			}
		}
	}
	f.chains = sorted
}
